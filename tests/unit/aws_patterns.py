r"""Every pattern of the models, with text that is one and text that is none, by the rules of Java.

A new botocore may bring new ones: ``test_aws_patterns.py`` says which are not here.
"""

from __future__ import annotations

#: The pattern, what it matches, and what it does not.
PATTERNS: dict[str, tuple[list[str], list[str]]] = {
    r"[a-z]+": (["a", "abc"], ["", "A", "a1", "ä", "a\n"]),
    r"arn:aws(-cn|-us-gov|-iso-b|-iso)?:acm:[a-z]{2}-(gov-|iso-|isob-)?[a-z]{4,9}-\d{1}:\d{12}"
    r":certificate/[a-zA-Z0-9/-]+": (
        [
            "arn:aws:acm:us-east-1:123456789012:certificate/a-1",
            "arn:aws-us-gov:acm:us-gov-west-1:123456789012:certificate/x/Y",
            "arn:aws-iso-b:acm:us-isob-east-1:123456789012:certificate/1",
        ],
        [
            "arn:aws:acm:us-east-1:12345678901:certificate/a",
            "arn:aws:acm:us-east-1:12345678901\u0662:certificate/a",
            "arn:aws:acm:us-east-1:123456789012:certificate/",
            "arn:aws:iot:us-east-1:123456789012:certificate/a",
        ],
    ),
    r"[a-zA-Z0-9]+": (["a", "Z9"], ["", "-", "ä", "\u0661"]),
    r"[a-zA-Z0-9_.,@/:#-]+": (["a", "A_.,@/:#-9"], ["", " ", "=", "a\n"]),
    r"[a-zA-Z0-9_.,@/:#=\[\]-]*": (["", "a=[1]", "-"], [" ", "{", "\\"]),
    r"[\p{Graph}\x20]*": (["", "a b", "~!", "\\p{}"], ["\t", "ä", "a\n", "\x7f", "\u00a0"]),
    r"[a-zA-Z0-9\-]+": (["a-1"], ["", "_", "\\"]),
    r"[\s\S]*": (["", "a\nb", "ä😀"], []),
    r"[\w=,@-]+": (["a_=,@-9"], ["", "ä", "."]),
    r"[0-9]+": (["0", "123456789012"], ["", "-1", "\u0661"]),
    r"[a-zA-Z0-9:_-]+": (["lamp-1", "a:b_C"], ["", "a b", "a/b", "ä", "a\n"]),
    r"(0x)?[a-fA-F0-9]+": (["0xAF", "09", "0x" + "a" * 62], ["", "0x", "g", "x0"]),
    r"[a-fA-F0-9:\.\/]+": (["10.0.0.0/8", "::1/128"], ["", "g", "\\"]),
    r"^[a-zA-Z0-9-_]+$": (["a-_9"], ["", "a\n", "a."]),
    r"\S{36,64}": (["a" * 36, "ä" * 64], ["a" * 35, "a" * 65, "a" * 36 + " ", "\t" * 40]),
    r"[^\p{C}]*": (["", "a b", "ä😀", "\u2028"], ["\n", "a\u200b", "\x7f", "\ue000", "\u0378"]),
    r"[a-zA-Z0-9_-]+": (["a_-9"], ["", ".", "a b"]),
    r"^[\x21-\x7E]+$": (["a!~", "\\x21"], ["", " ", "a\n", "ä", "\x7f"]),
    r"[a-zA-Z0-9_-]+|^\$next": (["a_-9", "$next"], ["", "$", "$nexta", "a$next"]),
    r"^[.$a-zA-Z0-9_-]+$": (["$.a"], ["", "a\n", "#"]),
    r"[^\p{C}]+": (["a b", "ä😀", "\u2028"], ["", "\n", "a\u200b", "\x7f", "\ue000"]),
    r"[a-zA-Z0-9:.]+": (["a:b.C"], ["", "-"]),
    r"^([1-9]|[12][0-9]|3[01])$|^LAST$": (
        ["1", "19", "31", "LAST"],
        ["0", "32", "", "last", "1\n"],
    ),
    r"[\w.-]+": (["a_.-9"], ["", ":", "ä"]),
    r"https?://.*": (
        ["http://", "https://a b"],
        ["ftp://a", "http:/", "http://a\u2028", "http://\r"],
    ),
    r"(p0|p0\.1|p0\.01|p1|p10|p50|p90|p99|p99\.9|p99\.99|p100)": (
        ["p0", "p0.01", "p99.99", "p100"],
        ["p2", "p0x1", "p", "p1000"],
    ),
    r"([\n\t])|(\r\n)|(,)": (["\n", "\t", "\r\n", ","], ["", "\r", "\n\n", ";"]),
    r"[a-zA-Z0-9_\-\.]+": (["a_-.9"], ["", ":", "\\"]),
    r"^[^_\"][^\"]+$": (["ab", " _"], ["a", "_a", 'a"', '"a']),
    r"^[^_].*$": (["a", "a_", "\n"], ["", "_a", "a\nb", "a\r", "a\u2028"]),
    r"[a-fA-F0-9:]+": (["0F:1a"], ["", "g"]),
    r"^arn:[!-~]+$": (["arn:!", "arn:aws:iot"], ["arn:", "arn: ", "arn:ä", "arn:a\n"]),
    r"^[.\-_/#A-Za-z0-9]+$": (["a/b-#._"], ["", ":", "a\n"]),
    r"^[1-9]+.[0-9]+": (["1.0", "12x0", "123", "1ä0"], ["1.", "0.1", "1", "1\r0", "1.0a"]),
    r"[A-Za-z0-9+/]+={0,2}": (["YQ==", "a+/=", "a"], ["", "=", "a===", "a_", "a="[::-1]]),
    r"[a-zA-Z0-9-_.]+": (["a-_.9"], ["", "/", ":"]),
    r"^[0-9-]+$": (["2026-01-01"], ["", "a", "1234567890\n"]),
    r"[\w+=,.@-]+": (["a+=,.@-_"], ["", "/", "ä"]),
    r"[\p{Upper}\p{Digit}_]+": (["A_9"], ["", "a", "Ä", "\u0661"]),
    r"[a-zA-Z0-9._-]+": (["a._-9"], ["", "/"]),
    r"[a-zA-Z0-9!_.*'()-\/]+": (["a!_.*'(),-/+"], ["", "#", "ä", "\\"]),
    r"[\w.:-]+": (["a_.:-"], ["", "/", "ä"]),
    r"^[a-zA-Z0-9_]+$": (["a_9"], ["", "-", "a\n"]),
    r"https://ingestion-[a-zA-Z0-9]{1,12}\.[a-zA-Z0-9]+\.((sfdc-matrix\.net)|(sfdcnow\.com))"
    r"/streams/\w{1,20}/\w{1,20}/event": (
        ["https://ingestion-a1.b2.sfdcnow.com/streams/a_/b/event"],
        [
            "https://ingestion-a1.b2.sfdcnow.com/streams/ä/b/event",
            "https://ingestion-a1.b2.sfdcnowxcom/streams/a/b/event",
            "http://ingestion-a1.b2.sfdcnow.com/streams/a/b/event",
        ],
    ),
    r"[$a-zA-Z0-9:_-]+": (["$a:b"], ["", ".", "a b"]),
    r"[A-Z0-9_-]+": (["A_-9"], ["", "a"]),
    r"^([\p{L}\p{Z}\p{N}_.:/=+\-@]*)$": (
        ["", "a b", "äΩ\u0661\u2028", "_.:/=+-@"],
        ["#", "\n", "a\n", "😀", "\u0301"],
    ),
    r"^[0-9A-Za-z_-]+$": (["a_-9"], ["", ".", "a\n"]),
    r"^[0-9]*$": (["", "0", "18446744073709551615"], ["-1", "a", "1\n", "\u0661"]),
    r"[a-zA-Z0-9:$.]+": (["$a.b:c"], ["", "-"]),
    r"[^\p{Cntrl}]*": (["", "a b", "ä\u200b", "\x85"], ["\n", "\x7f", "\0"]),
    r"^[^$].*": (["a", "a$", " "], ["", "$a", "a\nb", "a\x85"]),
}
MATCHING = {pattern: matching for pattern, (matching, _) in PATTERNS.items()}
OTHERS = {pattern: others for pattern, (_, others) in PATTERNS.items()}
