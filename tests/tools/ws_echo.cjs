// A WebSocket server by the package ws that sends back what comes. Its first line on stderr names its address.
// Argument: options of the package as JSON.
const { WebSocketServer } = require("ws");

const server = new WebSocketServer({ host: "127.0.0.1", port: 0, ...JSON.parse(process.argv[2] || "{}") });
server.on("listening", () => console.error(`listening on http://127.0.0.1:${server.address().port}`));
server.on("connection", (socket) => {
  socket.on("message", (data, binary) => socket.send(data, { binary }));
});
