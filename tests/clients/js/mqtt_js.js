// A client of MQTT.js; programs/lines.py says what it hears and tells.

const fs = require("node:fs");
const readline = require("node:readline");
const { parseArgs } = require("node:util");
const mqtt = require("mqtt");

const RECONNECT_MS = 1000;
const KEPT_S = 3600;
const NAMES = ["host", "port", "cafile", "cert", "key", "id", "version", "session", "topic"];
const options = Object.fromEntries(
  [...NAMES, "will-topic", "will-payload"].map((name) => [name, { type: "string" }]),
);
const said = parseArgs({ options }).values;
const isFive = said.version === "5";
const isKept = said.session === "kept";

function say(...words) {
  fs.writeSync(1, words.join(" ") + "\n");
}

say("library", require("mqtt/package.json").version);
const client = mqtt.connect({
  protocol: "mqtts",
  host: said.host,
  port: Number(said.port),
  ca: fs.readFileSync(said.cafile),
  cert: fs.readFileSync(said.cert),
  key: fs.readFileSync(said.key),
  clientId: said.id,
  protocolVersion: isFive ? 5 : 4,
  clean: !isKept,
  reconnectPeriod: RECONNECT_MS,
  ...(isFive && isKept && { properties: { sessionExpiryInterval: KEPT_S } }),
  ...(said["will-topic"] && {
    will: { topic: said["will-topic"], payload: said["will-payload"], qos: 1 },
  }),
});

let isConnected = false;
client.on("connect", (packet) => {
  isConnected = true;
  say("connected", packet.sessionPresent ? 1 : 0);
});
client.on("close", () => {
  if (isConnected) say("disconnected");
  isConnected = false;
});
client.on("error", (error) => say("refused", error.message.split(/\s+/).join("-")));
client.on("message", (topic, payload, packet) =>
  say("message", packet.qos, packet.retain ? 1 : 0, topic, payload),
);

function publish(qos, retain, topic, payload) {
  client.publish(topic, payload, { qos, retain }, (error) => {
    if (error) say("failed", payload, error.message.split(/\s+/).join("-"));
    else if (qos) say("acknowledged", payload);
  });
  say("made", payload);
}

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const [command, qos, ...rest] = line.split(" ");
  if (command === "publish") {
    publish(Number(qos), rest[0] === "1", rest[1], rest[2]);
  } else if (command === "subscribe") {
    client.subscribe(rest[0], { qos: Number(qos) }, (error, granted) =>
      // It grants nothing anew where it has subscribed again by itself.
      say("subscribed", error ? "failed" : (granted[0]?.qos ?? qos)),
    );
  }
});
