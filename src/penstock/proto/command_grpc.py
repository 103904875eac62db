import purerpc
from . import command_pb2 as teleport_dot_command__pb2


class CommandServiceServicer(purerpc.Servicer):
    async def Start(self, input_message):
        raise NotImplementedError()

    async def Stop(self, input_message):
        raise NotImplementedError()

    async def Status(self, input_message):
        raise NotImplementedError()

    async def StreamOutput(self, input_message):
        raise NotImplementedError()

    async def List(self, input_message):
        raise NotImplementedError()

    async def Wait(self, input_message):
        raise NotImplementedError()

    async def Signal(self, input_message):
        raise NotImplementedError()

    async def Pause(self, input_message):
        raise NotImplementedError()

    async def Resume(self, input_message):
        raise NotImplementedError()

    async def SendInput(self, input_messages):
        raise NotImplementedError()

    async def Remove(self, input_message):
        raise NotImplementedError()

    async def Watch(self, input_message):
        raise NotImplementedError()

    async def ServerInfo(self, input_message):
        raise NotImplementedError()

    async def WhoAmI(self, input_message):
        raise NotImplementedError()

    @property
    def service(self) -> purerpc.Service:
        service_obj = purerpc.Service(
            "teleport.CommandService"
        )
        service_obj.add_method(
            "Start",
            self.Start,
            purerpc.RPCSignature(
                purerpc.Cardinality.UNARY_UNARY,
                teleport_dot_command__pb2.StartRequest,
                teleport_dot_command__pb2.StartResponse,
            )
        )
        service_obj.add_method(
            "Stop",
            self.Stop,
            purerpc.RPCSignature(
                purerpc.Cardinality.UNARY_UNARY,
                teleport_dot_command__pb2.StopRequest,
                teleport_dot_command__pb2.StopResponse,
            )
        )
        service_obj.add_method(
            "Status",
            self.Status,
            purerpc.RPCSignature(
                purerpc.Cardinality.UNARY_UNARY,
                teleport_dot_command__pb2.StatusRequest,
                teleport_dot_command__pb2.StatusResponse,
            )
        )
        service_obj.add_method(
            "StreamOutput",
            self.StreamOutput,
            purerpc.RPCSignature(
                purerpc.Cardinality.UNARY_STREAM,
                teleport_dot_command__pb2.StreamOutputRequest,
                teleport_dot_command__pb2.StreamOutputResponse,
            )
        )
        service_obj.add_method(
            "List",
            self.List,
            purerpc.RPCSignature(
                purerpc.Cardinality.UNARY_UNARY,
                teleport_dot_command__pb2.ListRequest,
                teleport_dot_command__pb2.ListResponse,
            )
        )
        service_obj.add_method(
            "Wait",
            self.Wait,
            purerpc.RPCSignature(
                purerpc.Cardinality.UNARY_UNARY,
                teleport_dot_command__pb2.WaitRequest,
                teleport_dot_command__pb2.WaitResponse,
            )
        )
        service_obj.add_method(
            "Signal",
            self.Signal,
            purerpc.RPCSignature(
                purerpc.Cardinality.UNARY_UNARY,
                teleport_dot_command__pb2.SignalRequest,
                teleport_dot_command__pb2.SignalResponse,
            )
        )
        service_obj.add_method(
            "Pause",
            self.Pause,
            purerpc.RPCSignature(
                purerpc.Cardinality.UNARY_UNARY,
                teleport_dot_command__pb2.PauseRequest,
                teleport_dot_command__pb2.PauseResponse,
            )
        )
        service_obj.add_method(
            "Resume",
            self.Resume,
            purerpc.RPCSignature(
                purerpc.Cardinality.UNARY_UNARY,
                teleport_dot_command__pb2.ResumeRequest,
                teleport_dot_command__pb2.ResumeResponse,
            )
        )
        service_obj.add_method(
            "SendInput",
            self.SendInput,
            purerpc.RPCSignature(
                purerpc.Cardinality.STREAM_STREAM,
                teleport_dot_command__pb2.SendInputRequest,
                teleport_dot_command__pb2.SendInputResponse,
            )
        )
        service_obj.add_method(
            "Remove",
            self.Remove,
            purerpc.RPCSignature(
                purerpc.Cardinality.UNARY_UNARY,
                teleport_dot_command__pb2.RemoveRequest,
                teleport_dot_command__pb2.RemoveResponse,
            )
        )
        service_obj.add_method(
            "Watch",
            self.Watch,
            purerpc.RPCSignature(
                purerpc.Cardinality.UNARY_STREAM,
                teleport_dot_command__pb2.WatchRequest,
                teleport_dot_command__pb2.WatchResponse,
            )
        )
        service_obj.add_method(
            "ServerInfo",
            self.ServerInfo,
            purerpc.RPCSignature(
                purerpc.Cardinality.UNARY_UNARY,
                teleport_dot_command__pb2.ServerInfoRequest,
                teleport_dot_command__pb2.ServerInfoResponse,
            )
        )
        service_obj.add_method(
            "WhoAmI",
            self.WhoAmI,
            purerpc.RPCSignature(
                purerpc.Cardinality.UNARY_UNARY,
                teleport_dot_command__pb2.WhoAmIRequest,
                teleport_dot_command__pb2.WhoAmIResponse,
            )
        )
        return service_obj


class CommandServiceStub:
    def __init__(self, channel):
        self._client = purerpc.Client(
            "teleport.CommandService",
            channel
        )
        self.Start = self._client.get_method_stub(
            "Start",
            purerpc.RPCSignature(
                purerpc.Cardinality.UNARY_UNARY,
                teleport_dot_command__pb2.StartRequest,
                teleport_dot_command__pb2.StartResponse,
            )
        )
        self.Stop = self._client.get_method_stub(
            "Stop",
            purerpc.RPCSignature(
                purerpc.Cardinality.UNARY_UNARY,
                teleport_dot_command__pb2.StopRequest,
                teleport_dot_command__pb2.StopResponse,
            )
        )
        self.Status = self._client.get_method_stub(
            "Status",
            purerpc.RPCSignature(
                purerpc.Cardinality.UNARY_UNARY,
                teleport_dot_command__pb2.StatusRequest,
                teleport_dot_command__pb2.StatusResponse,
            )
        )
        self.StreamOutput = self._client.get_method_stub(
            "StreamOutput",
            purerpc.RPCSignature(
                purerpc.Cardinality.UNARY_STREAM,
                teleport_dot_command__pb2.StreamOutputRequest,
                teleport_dot_command__pb2.StreamOutputResponse,
            )
        )
        self.List = self._client.get_method_stub(
            "List",
            purerpc.RPCSignature(
                purerpc.Cardinality.UNARY_UNARY,
                teleport_dot_command__pb2.ListRequest,
                teleport_dot_command__pb2.ListResponse,
            )
        )
        self.Wait = self._client.get_method_stub(
            "Wait",
            purerpc.RPCSignature(
                purerpc.Cardinality.UNARY_UNARY,
                teleport_dot_command__pb2.WaitRequest,
                teleport_dot_command__pb2.WaitResponse,
            )
        )
        self.Signal = self._client.get_method_stub(
            "Signal",
            purerpc.RPCSignature(
                purerpc.Cardinality.UNARY_UNARY,
                teleport_dot_command__pb2.SignalRequest,
                teleport_dot_command__pb2.SignalResponse,
            )
        )
        self.Pause = self._client.get_method_stub(
            "Pause",
            purerpc.RPCSignature(
                purerpc.Cardinality.UNARY_UNARY,
                teleport_dot_command__pb2.PauseRequest,
                teleport_dot_command__pb2.PauseResponse,
            )
        )
        self.Resume = self._client.get_method_stub(
            "Resume",
            purerpc.RPCSignature(
                purerpc.Cardinality.UNARY_UNARY,
                teleport_dot_command__pb2.ResumeRequest,
                teleport_dot_command__pb2.ResumeResponse,
            )
        )
        self.SendInput = self._client.get_method_stub(
            "SendInput",
            purerpc.RPCSignature(
                purerpc.Cardinality.STREAM_STREAM,
                teleport_dot_command__pb2.SendInputRequest,
                teleport_dot_command__pb2.SendInputResponse,
            )
        )
        self.Remove = self._client.get_method_stub(
            "Remove",
            purerpc.RPCSignature(
                purerpc.Cardinality.UNARY_UNARY,
                teleport_dot_command__pb2.RemoveRequest,
                teleport_dot_command__pb2.RemoveResponse,
            )
        )
        self.Watch = self._client.get_method_stub(
            "Watch",
            purerpc.RPCSignature(
                purerpc.Cardinality.UNARY_STREAM,
                teleport_dot_command__pb2.WatchRequest,
                teleport_dot_command__pb2.WatchResponse,
            )
        )
        self.ServerInfo = self._client.get_method_stub(
            "ServerInfo",
            purerpc.RPCSignature(
                purerpc.Cardinality.UNARY_UNARY,
                teleport_dot_command__pb2.ServerInfoRequest,
                teleport_dot_command__pb2.ServerInfoResponse,
            )
        )
        self.WhoAmI = self._client.get_method_stub(
            "WhoAmI",
            purerpc.RPCSignature(
                purerpc.Cardinality.UNARY_UNARY,
                teleport_dot_command__pb2.WhoAmIRequest,
                teleport_dot_command__pb2.WhoAmIResponse,
            )
        )
