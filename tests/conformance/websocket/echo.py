"""An echo server by Autobahn, for Python 2.7: `echo.py HOST PORT`. Unlike the suite's own it does not mind which port the
Host of a request names, which is the gateway's, and it listens at one address only.
"""

import sys

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet import reactor


class Echo(WebSocketServerProtocol):
    def onMessage(self, payload, isBinary):
        self.sendMessage(payload, isBinary)


factory = WebSocketServerFactory()
factory.protocol = Echo
reactor.listenTCP(int(sys.argv[2]), factory, interface=sys.argv[1])
reactor.run()
