"""A client of aiomqtt, in the loop that its documentation gives for connecting again."""

import asyncio
import math
import sys

import aiomqtt
from lines import KEPT_S, RECONNECT_S, arguments, one_word, say, say_version
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

said = arguments()
say_version("aiomqtt")
is_5 = said.version == "5"
working: set[asyncio.Task[None]] = set()


def make_client() -> aiomqtt.Client:
    asked = {} if is_5 else {"clean_session": said.session == "clean"}
    if is_5 and said.session == "kept":
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = KEPT_S
        asked = {"clean_start": False, "properties": properties}
    if said.will_topic:
        asked["will"] = aiomqtt.Will(said.will_topic, said.will_payload, qos=1)
    protocol = aiomqtt.ProtocolVersion.V5 if is_5 else aiomqtt.ProtocolVersion.V311
    tls = aiomqtt.TLSParameters(said.cafile, said.cert, said.key)
    return aiomqtt.Client(
        said.host, said.port, identifier=said.id, protocol=protocol, tls_params=tls, **asked
    )


async def stay_connected(client: aiomqtt.Client) -> None:
    while True:
        is_connected = False
        try:
            async with client:
                is_connected = True
                say("connected", "-")
                async for message in client.messages:
                    text = message.payload.decode()
                    say("message", message.qos, int(message.retain), message.topic, text)
        except aiomqtt.MqttError as error:
            if is_connected:
                say("disconnected")
            else:
                say("refused", one_word(error))
            await asyncio.sleep(RECONNECT_S)


async def publish(client: aiomqtt.Client, qos: str, retain: str, topic: str, payload: str) -> None:
    try:
        # Its own limit is ten seconds, after which it knows no more than before.
        await client.publish(topic, payload, int(qos), retain == "1", timeout=math.inf)
    except aiomqtt.MqttError as error:
        say("failed", payload, one_word(error))
    else:
        if qos != "0":
            say("acknowledged", payload)


async def obey(client: aiomqtt.Client, words: list[str]) -> None:
    match words:
        case ["publish", *what]:
            publishing = asyncio.create_task(publish(client, *what))
            await asyncio.sleep(0)
            say("made", what[-1])
            await publishing
        case ["subscribe", qos, topic_filter]:
            granted = await client.subscribe(topic_filter, int(qos))
            say("subscribed", getattr(granted[0], "value", granted[0]))


async def main() -> None:
    client = make_client()
    connecting = asyncio.create_task(stay_connected(client))
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    while line := await reader.readline():
        task = asyncio.create_task(obey(client, line.decode().split()))
        working.add(task)
        task.add_done_callback(working.discard)
    connecting.cancel()


asyncio.run(main())
