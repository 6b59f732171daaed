"""A client of the AWS IoT Device SDK v2, MQTT 3.1.1."""

from functools import partial

from awscrt import auth, mqtt
from awsiot import mqtt_connection_builder
from lines import RECONNECT_S, arguments, commands, one_word, say, say_version

said = arguments()
say_version("awsiotsdk")


def on_message(topic, payload, dup, qos, retain, **_):
    say("message", int(qos), int(retain), topic, payload.decode())


def published(payload: str, qos: int):
    def done(future):
        error = future.exception()
        if error:
            say("failed", payload, one_word(getattr(error, "name", error)))
        elif qos:
            say("acknowledged", payload)

    return done


def subscribed(future):
    say("subscribed", "failed" if future.exception() else int(future.result()["qos"]))


if said.profile:
    provider = auth.AwsCredentialsProvider.new_profile(
        profile_name=said.profile,
        config_filepath=said.aws_config,
        credentials_filepath=said.aws_credentials,
    )
    builder = partial(
        mqtt_connection_builder.websockets_with_default_aws_signing,
        region=said.region,
        credentials_provider=provider,
    )
else:
    builder = partial(mqtt_connection_builder.mtls_from_path, said.cert, said.key)
will = None
if said.will_topic:
    will = mqtt.Will(said.will_topic, mqtt.QoS.AT_LEAST_ONCE, said.will_payload.encode(), False)
connection = builder(
    endpoint=said.host,
    port=said.port,
    ca_filepath=said.cafile,
    client_id=said.id,
    clean_session=said.session == "clean",
    keep_alive_secs=60,
    reconnect_min_timeout_secs=RECONNECT_S,
    reconnect_max_timeout_secs=RECONNECT_S,
    will=will,
    on_connection_success=lambda connection, callback_data: say(
        "connected", int(callback_data.session_present)
    ),
    on_connection_failure=lambda connection, callback_data: say(
        "refused", one_word(callback_data.error)
    ),
    on_connection_interrupted=lambda connection, error, **_: say("disconnected"),
)
connection.on_message(on_message)
# The first attempt is the application's to repeat; ``refused`` has told of it.
connection.connect()
for words in commands():
    match words:
        case ["publish", qos, retain, topic, payload]:
            future, _ = connection.publish(topic, payload, mqtt.QoS(int(qos)), retain == "1")
            future.add_done_callback(published(payload, int(qos)))
            say("made", payload)
        case ["subscribe", qos, topic_filter]:
            future, _ = connection.subscribe(topic_filter, mqtt.QoS(int(qos)))
            future.add_done_callback(subscribed)
