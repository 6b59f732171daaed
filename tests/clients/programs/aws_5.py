"""A client of the AWS IoT Device SDK v2, MQTT 5."""

from functools import partial

from awscrt import auth, mqtt5
from awsiot import mqtt5_client_builder
from lines import FAILURE, KEPT_S, RECONNECT_S, arguments, commands, one_word, say, say_version

said = arguments()
say_version("awsiotsdk")


def on_publish_received(data):
    packet = data.publish_packet
    text = (packet.payload or b"").decode()
    say("message", int(packet.qos), int(packet.retain), packet.topic, text)


def published(payload: str, qos: int):
    def done(future):
        error = future.exception()
        puback = None if error else future.result().puback
        if error:
            say("failed", payload, one_word(getattr(error, "name", error)))
        elif puback is not None and puback.reason_code >= FAILURE:
            say("failed", payload, puback.reason_code.name)
        elif qos:
            say("acknowledged", payload)

    return done


def subscribed(future):
    error = future.exception()
    say("subscribed", "failed" if error else int(future.result().reason_codes[0]))


if said.profile:
    provider = auth.AwsCredentialsProvider.new_profile(
        profile_name=said.profile,
        config_filepath=said.aws_config,
        credentials_filepath=said.aws_credentials,
    )
    builder = partial(
        mqtt5_client_builder.websockets_with_default_aws_signing,
        region=said.region,
        credentials_provider=provider,
    )
else:
    builder = partial(mqtt5_client_builder.mtls_from_path, said.cert, said.key)
kept = {}
if said.session == "kept":
    behaviour = mqtt5.ClientSessionBehaviorType.REJOIN_ALWAYS
    kept = {"session_behavior": behaviour, "session_expiry_interval_sec": KEPT_S}
if said.will_topic:
    kept["will"] = mqtt5.PublishPacket(
        topic=said.will_topic, payload=said.will_payload, qos=mqtt5.QoS.AT_LEAST_ONCE
    )
client = builder(
    endpoint=said.host,
    port=said.port,
    ca_filepath=said.cafile,
    client_id=said.id,
    keep_alive_interval_sec=60,
    min_reconnect_delay_ms=RECONNECT_S * 1000,
    max_reconnect_delay_ms=RECONNECT_S * 1000,
    on_publish_received=on_publish_received,
    on_lifecycle_connection_success=lambda data: say(
        "connected", int(data.connack_packet.session_present)
    ),
    on_lifecycle_connection_failure=lambda data: say("refused", one_word(data.exception)),
    on_lifecycle_disconnection=lambda data: say("disconnected"),
    **kept,
)
client.start()
for words in commands():
    match words:
        case ["publish", qos, retain, topic, payload]:
            packet = mqtt5.PublishPacket(
                topic=topic, payload=payload, qos=mqtt5.QoS(int(qos)), retain=retain == "1"
            )
            client.publish(packet).add_done_callback(published(payload, int(qos)))
            say("made", payload)
        case ["subscribe", qos, topic_filter]:
            wanted = mqtt5.Subscription(topic_filter=topic_filter, qos=mqtt5.QoS(int(qos)))
            packet = mqtt5.SubscribePacket(subscriptions=[wanted])
            client.subscribe(packet).add_done_callback(subscribed)
