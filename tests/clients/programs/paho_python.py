"""A client of paho-mqtt in its usual threaded mode."""

import threading

import paho.mqtt.client as paho
from lines import KEPT_S, RECONNECT_S, arguments, commands, one_word, say, say_version
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

said = arguments()
say_version("paho-mqtt")
is_5 = said.version == "5"
#: paho may tell of a PUBACK before ``publish`` has returned its packet id.
lock = threading.Lock()
sent: dict[int, str] = {}
early: set[int] = set()


def on_connect(client, userdata, flags, code, properties):
    if code.is_failure:
        say("refused", one_word(code))
    else:
        say("connected", int(flags.session_present))


def on_publish(client, userdata, packet_id, code, properties):
    with lock:
        payload = sent.pop(packet_id, None)
        if payload is None:
            early.add(packet_id)
    if payload is not None and code.is_failure:
        say("failed", payload, one_word(code))
    elif payload is not None:
        say("acknowledged", payload)


def on_message(client, userdata, message):
    text = message.payload.decode()
    say("message", message.qos, int(message.retain), message.topic, text)


def publish(qos: int, retain: bool, topic: str, payload: str) -> None:
    info = client.publish(topic, payload, qos, retain)
    if info.rc not in (paho.MQTT_ERR_SUCCESS, paho.MQTT_ERR_NO_CONN):
        say("failed", payload, one_word(info.rc))
    elif qos:
        with lock:
            is_early = info.mid in early
            if not is_early:
                sent[info.mid] = payload
        if is_early:
            say("acknowledged", payload)


clean = {} if is_5 else {"clean_session": said.session == "clean"}
protocol = paho.MQTTv5 if is_5 else paho.MQTTv311
client = paho.Client(CallbackAPIVersion.VERSION2, said.id, protocol=protocol, **clean)
client.tls_set(said.cafile, said.cert, said.key)
client.reconnect_delay_set(RECONNECT_S)
if said.will_topic:
    client.will_set(said.will_topic, said.will_payload, qos=1)
client.on_connect = on_connect
client.on_connect_fail = lambda *_: say("refused", "no-connection")
client.on_disconnect = lambda *_: say("disconnected")
client.on_publish = on_publish
client.on_message = on_message
client.on_subscribe = lambda *told: say("subscribed", told[3][0].value)
asked = {}
if is_5 and said.session == "kept":
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = KEPT_S
    asked = {"clean_start": False, "properties": properties}
client.connect_async(said.host, said.port, **asked)
client.loop_start()
for words in commands():
    match words:
        case ["publish", qos, retain, topic, payload]:
            publish(int(qos), retain == "1", topic, payload)
            say("made", payload)
        case ["subscribe", qos, topic_filter]:
            client.subscribe(topic_filter, int(qos))
