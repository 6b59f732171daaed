/* A client of libmosquitto, with its thread. */

#include <mosquitto.h>
#include <mqtt_protocol.h>

#include "lines.h"

#define RECONNECT_S 1
#define KEPT_S 3600

static struct mosquitto *client;
static int is_5;
/* Payloads by packet id. A PUBACK may come before mosquitto_publish has returned its id. */
static char *payloads[65536];

static void connected(struct mosquitto *_, void *__, int code, int flags,
                      const mosquitto_property *properties) {
    if (code)
        say("refused %d", code);
    else
        say("connected %d", flags & 1);
}

static void lost(struct mosquitto *_, void *__, int code) { say("disconnected"); }

static void acknowledged(struct mosquitto *_, void *__, int id, int code,
                         const mosquitto_property *properties) {
    char *payload = __atomic_exchange_n(&payloads[id], "", __ATOMIC_SEQ_CST);
    if (payload && code >= 128)
        say("failed %s %d", payload, code);
    else if (payload)
        say("acknowledged %s", payload);
}

static void arrived(struct mosquitto *_, void *__, const struct mosquitto_message *message) {
    say("message %d %d %s %.*s", message->qos, message->retain, message->topic,
        message->payloadlen, (char *)message->payload);
}

static void subscribed(struct mosquitto *_, void *__, int id, int count, const int *granted) {
    say("subscribed %d", granted[0]);
}

static void publish(int qos, int retain, const char *topic, const char *payload) {
    int id = 0;
    int code = mosquitto_publish(client, &id, topic, strlen(payload), payload, qos, retain);
    if (!qos)
        return;
    if (code != MOSQ_ERR_SUCCESS && code != MOSQ_ERR_NO_CONN)
        say("failed %s %d", payload, code);
    else if (__atomic_exchange_n(&payloads[id], strdup(payload), __ATOMIC_SEQ_CST))
        say("acknowledged %s", payload);
}

static void subscribe(int qos, const char *filter) {
    mosquitto_subscribe(client, NULL, filter, qos);
}

int main(int argc, char **argv) {
    struct arguments said = arguments(argc, argv);
    mosquitto_property *asked = NULL;
    int is_kept = is(said.session, "kept");

    int major, minor, revision;

    mosquitto_lib_init();
    mosquitto_lib_version(&major, &minor, &revision);
    say("library %d.%d.%d", major, minor, revision);
    client = mosquitto_new(said.id, !is_kept, NULL);
    is_5 = is(said.version, "5");
    mosquitto_int_option(client, MOSQ_OPT_PROTOCOL_VERSION,
                         is_5 ? MQTT_PROTOCOL_V5 : MQTT_PROTOCOL_V311);
    if (is_5 && is_kept)
        mosquitto_property_add_int32(&asked, MQTT_PROP_SESSION_EXPIRY_INTERVAL, KEPT_S);
    mosquitto_tls_set(client, said.cafile, NULL, said.cert, said.key, NULL);
    mosquitto_reconnect_delay_set(client, RECONNECT_S, RECONNECT_S, false);
    if (said.will_topic)
        mosquitto_will_set(client, said.will_topic, strlen(said.will_payload), said.will_payload, 1,
                           false);
    mosquitto_connect_v5_callback_set(client, connected);
    mosquitto_disconnect_callback_set(client, lost);
    mosquitto_publish_v5_callback_set(client, acknowledged);
    mosquitto_message_callback_set(client, arrived);
    mosquitto_subscribe_callback_set(client, subscribed);
    mosquitto_connect_bind_v5(client, said.host, atoi(said.port), 60, NULL, asked);
    mosquitto_loop_start(client);
    obey();
    return 0;
}
