/* What the programs in C have in common; lines.py has the rest, and says what they hear and tell. */

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct arguments {
    char *host, *port, *cafile, *cert, *key, *id, *version, *session, *topic;
    char *will_topic, *will_payload;
};

static struct arguments arguments(int argc, char **argv) {
    struct arguments said = {0};
    char **places[] = {&said.host, &said.port,    &said.cafile, &said.cert,
                       &said.key,  &said.id,      &said.version, &said.session,
                       &said.topic, &said.will_topic, &said.will_payload};
    const char *names[] = {"host", "port",    "cafile", "cert",       "key",         "id",
                           "version", "session", "topic",  "will-topic", "will-payload"};
    struct option options[12] = {0};
    int found;
    for (int i = 0; i < 11; i++)
        options[i] = (struct option){names[i], required_argument, NULL, i + 1};
    while ((found = getopt_long(argc, argv, "", options, NULL)) > 0 && found <= 11)
        *places[found - 1] = optarg;
    return said;
}

static void say(const char *format, ...) {
    va_list words;
    va_start(words, format);
    flockfile(stdout);
    vprintf(format, words);
    putchar('\n');
    fflush(stdout);
    funlockfile(stdout);
    va_end(words);
}

static int is(const char *one, const char *other) { return strcmp(one, other) == 0; }

static void publish(int qos, int retain, const char *topic, const char *payload);
static void subscribe(int qos, const char *filter);

/* Obey until standard input ends. */
static void obey(void) {
    char topic[300], payload[300];
    char line[1000];
    int qos, retain;
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "publish %d %d %299s %299s", &qos, &retain, topic, payload) == 4)
            publish(qos, retain, topic, payload), say("made %s", payload);
        else if (sscanf(line, "subscribe %d %299s", &qos, topic) == 2)
            subscribe(qos, topic);
    }
}
