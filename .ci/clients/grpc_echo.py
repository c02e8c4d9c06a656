"""serve PORT: a gRPC service that streams each message back, with a trailer. ask PORT: speaks to it from inside."""

import sys
from concurrent import futures

import grpc


class Service(grpc.GenericRpcHandler):
    def service(self, call):
        def again(messages, context):
            context.set_trailing_metadata([("x-trailer", "trailer said")])
            for message in messages:
                yield b"again " + message

        return grpc.stream_stream_rpc_method_handler(again) if call.method == "/echo/Again" else None


def serve(port):
    server = grpc.server(futures.ThreadPoolExecutor(4), handlers=[Service()])
    assert server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


def ask(port):
    with grpc.insecure_channel(f"host.cofferdam:{port}") as channel:
        call = channel.stream_stream("/echo/Again")(iter([b"ping", b"pong"]), timeout=20)
        try:
            said = [message.decode() for message in call]
        except grpc.RpcError as e:
            sys.exit(f"{e.code()}: {e.details()}")
        print(", ".join(said + [value for key, value in call.trailing_metadata() if key == "x-trailer"]))


{"serve": serve, "ask": ask}[sys.argv[1]](int(sys.argv[2]))
