"""The names in a certificate, as the developer guide's own example has them."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from made_certificates import NOW, new_key, pem

from isthmus.adapters.certificate_names import certificate_names

#: "X.509 certificate example", in "Using X.509 certificate policy variables".
ISSUER = [
    (NameOID.COUNTRY_NAME, "US"),
    (NameOID.ORGANIZATION_NAME, "IoT Devices"),
    (NameOID.ORGANIZATIONAL_UNIT_NAME, "SmartHome"),
    (NameOID.STATE_OR_PROVINCE_NAME, "WA"),
    (NameOID.COMMON_NAME, "IoT Devices Primary CA"),
    (NameOID.GIVEN_NAME, "Primary CA1"),
    (NameOID.INITIALS, "XY"),
    (NameOID.DN_QUALIFIER, "Example corp"),
    (NameOID.SURNAME, "SmartHome"),
    (NameOID.TITLE, "CA1"),
    (NameOID.PSEUDONYM, "Primary_CA"),
    (NameOID.GENERATION_QUALIFIER, "2"),
    (NameOID.SERIAL_NUMBER, "987"),
]
KEY = new_key()


def name(parts):
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])


def certificate(subject, issuer=(), *extensions):
    builder = (
        x509.CertificateBuilder(name(issuer), name(subject), KEY.public_key())
        .serial_number(0x921285CBB7A5E086)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1))
    )
    for each in extensions:
        builder = builder.add_extension(each, critical=False)
    return pem(builder.sign(KEY, hashes.SHA256()))


def test_the_example_of_the_guide():
    directory = [
        (NameOID.COUNTRY_NAME, "US"),
        (NameOID.ORGANIZATION_NAME, "IoT"),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, "SmartHome"),
        (NameOID.COMMON_NAME, "LightBulbCert"),
    ]
    subject = x509.SubjectAlternativeName(
        [
            x509.DNSName("example.com"),
            x509.IPAddress(ip_address("1.2.3.4")),
            x509.UniformResourceIdentifier("ResourceIdentifier001"),
            x509.RFC822Name("device1@example.com"),
            x509.DirectoryName(name(directory)),
        ]
    )
    issuer = x509.IssuerAlternativeName([x509.DNSName("issuer.com")])
    text = certificate([(NameOID.COMMON_NAME, "LightBulb Device Cert")], ISSUER, subject, issuer)
    assert certificate_names(text) == {
        "iot:Certificate.SerialNumber": ("10525622389124227206",),
        "iot:Certificate.Subject.CommonName": ("LightBulb Device Cert",),
        "iot:Certificate.Issuer.Country": ("US",),
        "iot:Certificate.Issuer.Organization": ("IoT Devices",),
        "iot:Certificate.Issuer.OrganizationalUnit": ("SmartHome",),
        "iot:Certificate.Issuer.State": ("WA",),
        "iot:Certificate.Issuer.CommonName": ("IoT Devices Primary CA",),
        "iot:Certificate.Issuer.GivenName": ("Primary CA1",),
        "iot:Certificate.Issuer.Initials": ("XY",),
        "iot:Certificate.Issuer.DistinguishedNameQualifier": ("Example corp",),
        "iot:Certificate.Issuer.Surname": ("SmartHome",),
        "iot:Certificate.Issuer.Title": ("CA1",),
        "iot:Certificate.Issuer.Pseudonym": ("Primary_CA",),
        "iot:Certificate.Issuer.GenerationQualifier": ("2",),
        "iot:Certificate.Issuer.SerialNumber": ("987",),
        "iot:Certificate.Subject.AlternativeName.DNSName": ("example.com",),
        "iot:Certificate.Subject.AlternativeName.IPAddress": ("1.2.3.4",),
        "iot:Certificate.Subject.AlternativeName.UniformResourceIdentifier": (
            "ResourceIdentifier001",
        ),
        "iot:Certificate.Subject.AlternativeName.RFC822Name": ("device1@example.com",),
        "iot:Certificate.Subject.AlternativeName.DirectoryName": (
            "cn=LightBulbCert,ou=SmartHome,o=IoT,c=US",
        ),
        "iot:Certificate.Issuer.AlternativeName.DNSName": ("issuer.com",),
    }


def test_values_keep_their_order_and_special_characters_a_backslash():
    names = [(NameOID.ORGANIZATION_NAME, "b"), (NameOID.ORGANIZATION_NAME, "O=Amazon.com, Inc.")]
    found = certificate_names(certificate(names))
    assert found["iot:Certificate.Subject.Organization"] == ("b", "O\\=Amazon.com\\, Inc.")


@given(st.text(max_size=200))
def test_what_is_no_certificate_has_no_names(text):
    assert certificate_names(text) == {}
