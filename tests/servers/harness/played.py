"""A server's component port (XEP-0114) that a test plays: what it says of whom is up to the test."""

import hashlib
import socket
import xml.etree.ElementTree as ET

from .servers import COMPONENT, SECRET

NAMESPACE = "jabber:component:accept"


class PlayedServer:
    """Listens like a server; `connect` accepts one component."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(20)
        self.component_port = self.listener.getsockname()[1]
        self.parser = ET.XMLPullParser(["start", "end"])
        self.depth = 0
        self.root = None

    def connect(self):
        """Accepts the component and its secret."""
        self.stream, _ = self.listener.accept()
        self.stream.settimeout(20)
        self.read_until(lambda: self.root is not None)
        self.send(f"<?xml version='1.0'?><stream:stream xmlns='{NAMESPACE}' xmlns:stream='http://etherx.jabber.org/streams' from='{COMPONENT}' id='played'>")
        handshake = self.next()
        assert handshake.text == hashlib.sha1(f"played{SECRET}".encode()).hexdigest()
        self.send("<handshake/>")
        return self

    def send(self, xml):
        """Sends something as it is."""
        self.stream.sendall(xml.encode())

    def read_until(self, condition):
        """Reads until the condition holds."""
        while not condition():
            data = self.stream.recv(65536)
            assert data, "the component closed the stream"
            self.parser.feed(data)
            for event, element in self.parser.read_events():
                self.depth += 1 if event == "start" else -1
                if self.root is None:
                    self.root = element
                    self.whole = 0
                elif event == "end" and self.depth == 1:
                    self.whole += 1

    def next(self):
        """The next stanza."""
        self.read_until(lambda: self.whole > 0)
        self.whole -= 1
        stanza = self.root[0]
        self.root.remove(stanza)
        return stanza

    def close(self):
        """Ends everything."""
        for closing in (getattr(self, "stream", None), self.listener):
            if closing:
                closing.close()
