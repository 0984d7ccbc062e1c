"""A service of one method, ``binary infer(1: binary data)``, in thrift's C-accelerated binary protocol.

Written as thrift's compiler would write it, which is not on PyPI.
"""

from thrift.protocol.TBase import TBase
from thrift.protocol.TBinaryProtocol import TBinaryProtocolAccelerated
from thrift.Thrift import TMessageType, TProcessor, TType
from thrift.transport.TSocket import TSocket
from thrift.transport.TTransport import TBufferedTransport

METHOD = "infer"


class InferArgs(TBase):
    __slots__ = ("data",)
    thrift_spec = (None, (1, TType.STRING, "data", "BINARY", None))

    def __init__(self, data=None):
        self.data = data


class InferResult(TBase):
    __slots__ = ("success",)
    thrift_spec = ((0, TType.STRING, "success", "BINARY", None),)

    def __init__(self, success=None):
        self.success = success


class InferProcessor(TProcessor):
    """The server's half: answers each call with what a function makes of its data."""

    def __init__(self, function):
        self._function = function

    def process(self, iprot, oprot):
        name, _, number = iprot.readMessageBegin()
        args = InferArgs()
        args.read(iprot)
        iprot.readMessageEnd()
        assert name == METHOD
        oprot.writeMessageBegin(METHOD, TMessageType.REPLY, number)
        InferResult(self._function(args.data)).write(oprot)
        oprot.writeMessageEnd()
        oprot.trans.flush()


class InferClient:
    """The client's half, over one connection."""

    def __init__(self, host, port):
        transport = TBufferedTransport(TSocket(host, port))
        transport.open()
        self._protocol = TBinaryProtocolAccelerated(transport, fallback=False)

    def __call__(self, data):
        protocol = self._protocol
        protocol.writeMessageBegin(METHOD, TMessageType.CALL, 0)
        InferArgs(data).write(protocol)
        protocol.writeMessageEnd()
        protocol.trans.flush()
        _, kind, _ = protocol.readMessageBegin()
        assert kind == TMessageType.REPLY
        result = InferResult()
        result.read(protocol)
        protocol.readMessageEnd()
        return result.success
