// A WebSocket client by the package ws: sends messages of many sizes to an echo, one after the other, and prints as JSON
// what came of it. Arguments: URL, options of the package as JSON.
const WebSocket = require("ws");

const sizes = [0, 1, 125, 126, 65535, 65536, 1 << 20];
const messages = sizes.flatMap((n) => ["ü".repeat(n / 2) + "x".repeat(n % 2), Buffer.alloc(n, n % 251)]);
const result = { messages: 0, wrong: 0 };
const socket = new WebSocket(process.argv[2], JSON.parse(process.argv[3] || "{}"));
const next = () => socket.send(messages[result.messages]);

socket.on("open", next);
socket.on("message", (data, binary) => {
  const sent = messages[result.messages++];
  if (binary === (typeof sent === "string") || !data.equals(Buffer.from(sent))) {
    result.wrong++;
  }
  if (result.messages < messages.length) {
    next();
  } else {
    socket.ping("?");
  }
});
socket.on("pong", (data) => {
  result.pong = data.toString();
  result.extensions = socket.extensions;
  socket.close(1000);
});
socket.on("close", (code) => console.log(JSON.stringify({ ...result, code })));
