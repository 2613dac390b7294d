"use strict";

const query = new URLSearchParams(location.search);
const room = query.get("room") || "lobby";
const name = query.get("name") || "guest-" + Math.floor(Math.random() * 900 + 100);
const messages = document.getElementById("messages");
const state = document.getElementById("state");
const form = document.getElementById("say");
const text = document.getElementById("text");
let socket;

document.getElementById("room").textContent = room;

function show(message) {
  const line = document.createElement("li");
  line.classList.add(message.type);
  line.classList.toggle("own", message.name === name);
  const who = document.createElement("b");
  who.textContent = message.name;
  const said = { join: "has come", leave: "has left" }[message.type] || message.text;
  line.append(who, " ", said);
  messages.append(line);
  messages.scrollTop = messages.scrollHeight;
}

function connect(wait) {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  socket = new WebSocket(`${scheme}//${location.host}/rooms/${room}?name=${encodeURIComponent(name)}`);
  socket.onopen = () => {
    wait = 500;
    messages.replaceChildren();
    state.textContent = `here as ${name}`;
  };
  socket.onmessage = (event) => show(JSON.parse(event.data));
  socket.onclose = () => {
    state.textContent = "connection lost, trying again …";
    setTimeout(connect, wait, Math.min(2 * wait, 10000));
  };
}

form.onsubmit = (event) => {
  event.preventDefault();
  if (socket.readyState === WebSocket.OPEN && text.value) {
    socket.send(text.value);
    text.value = "";
  }
};

connect(500);
