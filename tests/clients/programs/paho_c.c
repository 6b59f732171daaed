/* A client of Eclipse Paho's library in C, asynchronous, with its automatic reconnect. */

#include <MQTTAsync.h>

#include "lines.h"

#define RECONNECT_S 1
#define KEPT_S 3600

static MQTTAsync client;
static int is_5;

static void connected(void *context, char *cause) { say("connected -"); }
static void lost(void *context, char *cause) { say("disconnected"); }
static void refused(void *context, MQTTAsync_failureData *data) { say("refused %d", data->code); }
static void refused5(void *context, MQTTAsync_failureData5 *data) {
    say("refused %d", data->reasonCode ? (int)data->reasonCode : data->code);
}

static int arrived(void *context, char *topic, int length, MQTTAsync_message *message) {
    say("message %d %d %s %.*s", message->qos, message->retained, topic, message->payloadlen,
        (char *)message->payload);
    MQTTAsync_freeMessage(&message);
    MQTTAsync_free(topic);
    return 1;
}

static void acknowledged(void *payload, MQTTAsync_successData *data) {
    say("acknowledged %s", (char *)payload);
}
static void acknowledged5(void *payload, MQTTAsync_successData5 *data) {
    say("acknowledged %s", (char *)payload);
}
static void failed(void *payload, MQTTAsync_failureData *data) {
    say("failed %s %d", (char *)payload, data->code);
}
static void failed5(void *payload, MQTTAsync_failureData5 *data) {
    say("failed %s %d", (char *)payload, data->reasonCode ? (int)data->reasonCode : data->code);
}

static void publish(int qos, int retain, const char *topic, const char *payload) {
    MQTTAsync_responseOptions options = MQTTAsync_responseOptions_initializer;
    if (qos && is_5) {
        options.onSuccess5 = acknowledged5;
        options.onFailure5 = failed5;
    } else if (qos) {
        options.onSuccess = acknowledged;
        options.onFailure = failed;
    }
    options.context = strdup(payload);
    int code = MQTTAsync_send(client, topic, strlen(payload), payload, qos, retain, &options);
    if (code != MQTTASYNC_SUCCESS && qos)
        say("failed %s %d", payload, code);
}

static void subscribed(void *context, MQTTAsync_successData *data) {
    say("subscribed %d", data->alt.qos);
}
static void subscribed5(void *context, MQTTAsync_successData5 *data) {
    say("subscribed %d", data->reasonCode);
}

static void subscribe(int qos, const char *filter) {
    MQTTAsync_responseOptions options = MQTTAsync_responseOptions_initializer;
    if (is_5)
        options.onSuccess5 = subscribed5;
    else
        options.onSuccess = subscribed;
    MQTTAsync_subscribe(client, filter, qos, &options);
}

static void connect_5(MQTTAsync_connectOptions *options, int is_kept) {
    static MQTTProperties properties = MQTTProperties_initializer;
    MQTTProperty expiry = {.identifier = MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL};
    options->cleanstart = !is_kept;
    options->onFailure5 = refused5;
    if (is_kept) {
        expiry.value.integer4 = KEPT_S;
        MQTTProperties_add(&properties, &expiry);
        options->connectProperties = &properties;
    }
}

int main(int argc, char **argv) {
    struct arguments said = arguments(argc, argv);
    MQTTAsync_createOptions creating = MQTTAsync_createOptions_initializer;
    MQTTAsync_createOptions creating_5 = MQTTAsync_createOptions_initializer5;
    MQTTAsync_connectOptions options = MQTTAsync_connectOptions_initializer;
    MQTTAsync_connectOptions options_5 = MQTTAsync_connectOptions_initializer5;
    MQTTAsync_SSLOptions tls = MQTTAsync_SSLOptions_initializer;
    MQTTAsync_willOptions will = MQTTAsync_willOptions_initializer;
    char uri[200];
    int is_kept = is(said.session, "kept");

    for (MQTTAsync_nameValue *each = MQTTAsync_getVersionInfo(); each->name; each++)
        if (is(each->name, "Version"))
            say("library %s", each->value);
    is_5 = is(said.version, "5");
    if (is_5) {
        creating = creating_5;
        options = options_5;
        connect_5(&options, is_kept);
    } else {
        options.MQTTVersion = MQTTVERSION_3_1_1;
        options.cleansession = !is_kept;
        options.onFailure = refused;
    }
    /* Else it takes no message while it has no connection. */
    creating.sendWhileDisconnected = 1;
    options.automaticReconnect = 1;
    options.minRetryInterval = RECONNECT_S;
    tls.trustStore = said.cafile;
    tls.keyStore = said.cert;
    tls.privateKey = said.key;
    tls.verify = 1;
    options.ssl = &tls;
    if (said.will_topic) {
        will.topicName = said.will_topic;
        will.message = said.will_payload;
        will.qos = 1;
        options.will = &will;
    }
    snprintf(uri, sizeof uri, "ssl://%s:%s", said.host, said.port);
    MQTTAsync_createWithOptions(&client, uri, said.id, MQTTCLIENT_PERSISTENCE_NONE, NULL,
                                &creating);
    MQTTAsync_setConnected(client, NULL, connected);
    MQTTAsync_setConnectionLostCallback(client, NULL, lost);
    MQTTAsync_setMessageArrivedCallback(client, NULL, arrived);
    MQTTAsync_connect(client, &options);
    obey();
    return 0;
}
