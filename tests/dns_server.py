"""A private DNS server: zones by dnslib, or answers exactly as a test says.

DnsServer   as a context manager; `zone` is a text of records, `script(request, over_tcp)` may answer in its place
"""

import contextlib
import socket
import struct
import threading
import time

from dnslib import QTYPE, RCODE, RR, DNSRecord

SOA = "{zone} 60 IN SOA ns.{zone} root.{zone} 1 2 3 4 5"


class DnsServer:
    """Answers on 127.0.0.1 by UDP and TCP, on one port.

    zone: records as in a zone file; names that are not there do not exist
    script: called with (DNSRecord, over_tcp, address); returns bytes or a DNSRecord to send, a list of them, None to
        stay silent, or NotImplemented to answer from the zone
    delay: seconds before an answer
    """

    def __init__(self, zone="", script=None, delay=0):
        self.records = RR.fromZone(zone) if zone else []
        self.script = script
        self.delay = delay
        self.questions = []  # (name, type, over TCP, source port)
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.tcp = socket.socket()
        for _ in range(100):
            self.tcp.bind(("127.0.0.1", 0))
            self.port = self.tcp.getsockname()[1]
            try:
                self.udp.bind(("127.0.0.1", self.port))
                break
            except OSError:
                self.tcp.close()
                self.tcp = socket.socket()
        self.tcp.listen()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def asked(self, name=None):
        """How many questions have come, for a name."""
        return len([q for q in self.questions if name in (None, q[0])])

    def __enter__(self):
        for run in (self.serve_udp, self.serve_tcp):
            threading.Thread(target=run, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.udp.close()
        self.tcp.close()

    def serve_udp(self):
        with contextlib.suppress(OSError):
            while True:
                packet, address = self.udp.recvfrom(4096)
                threading.Thread(target=self.serve_packet, args=(packet, address), daemon=True).start()

    def serve_packet(self, packet, address):
        for answer in self.answers(packet, False, address):
            with contextlib.suppress(OSError):
                self.udp.sendto(answer, address)

    def serve_tcp(self):
        with contextlib.suppress(OSError):
            while True:
                client, address = self.tcp.accept()
                threading.Thread(target=self.serve_stream, args=(client, address), daemon=True).start()

    def serve_stream(self, client, address):
        with client, client.makefile("rb") as file, contextlib.suppress(OSError, struct.error):
            while True:
                (size,) = struct.unpack("!H", file.read(2))
                for answer in self.answers(file.read(size), True, address):
                    client.sendall(struct.pack("!H", len(answer)) + answer)

    def answers(self, packet, over_tcp, address):
        """The packets to send."""
        request = DNSRecord.parse(packet)
        name = str(request.q.qname).rstrip(".")
        self.questions.append((name, QTYPE[request.q.qtype], over_tcp, address[1]))
        time.sleep(self.delay)
        answer = self.script(request, over_tcp, address) if self.script else NotImplemented
        if answer is NotImplemented:
            answer = self.look_up(request)
        if answer is None:
            return []
        answers = answer if isinstance(answer, list) else [answer]
        return [one if isinstance(one, bytes) else bytes(one.pack()) for one in answers]

    def look_up(self, request):
        """Answer from the zone, through its aliases."""
        reply = request.reply()
        name, kind = request.q.qname, request.q.qtype
        exists = False
        for _ in range(8):
            here = [record for record in self.records if record.rname == name]
            exists = bool(here)
            alias = [record for record in here if record.rtype == QTYPE.CNAME and kind != QTYPE.CNAME]
            reply.add_answer(*(alias or [record for record in here if record.rtype == kind]))
            if not alias:
                break
            name = alias[0].rdata.label
        if not reply.rr or not exists:
            reply.header.rcode = RCODE.NOERROR if exists else RCODE.NXDOMAIN
        if not any(record.rtype == kind for record in reply.rr):
            reply.add_auth(*[record for record in self.records if record.rtype == QTYPE.SOA])
        return reply
