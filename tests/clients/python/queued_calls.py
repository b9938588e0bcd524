"""Shows what becomes of calls that wait in the client when the server closes a connection because of its age.

Usage: queued_calls.py HOST:PORT [SERVICE_CONFIG]. The suite must run with a short `connection_age_seconds`. Without a service
config the client's retries of calls that it never sent are off too, so that what it reports of them is seen. Also shows what becomes
of a call that a server refuses twice with UNAVAILABLE. Prints one JSON document.
"""

import asyncio
import collections
import json
import sys
import uuid

import grpc

from kith.identity.v1 import service_pb2 as identity
from kith.identity.v1 import service_pb2_grpc as identity_grpc
from kith.posts.v1 import service_pb2 as posts
from kith.posts.v1 import service_pb2_grpc as posts_grpc

# The server lets one connection have so many calls open at a time (STREAMS_PER_CONNECTION): what is more waits here.
STREAMS_PER_CONNECTION = 256
QUEUED = 20
DEADLINE_SECONDS = 25
# Every channel a connection of its own; without it channels to one address share theirs.
OWN_CONNECTION = ("grpc.use_local_subchannel_pool", 1)


def channel(address, service_config):
    if service_config is None:
        return grpc.aio.insecure_channel(address, options=[OWN_CONNECTION, ("grpc.enable_retries", 0)])
    return grpc.aio.insecure_channel(address, options=[OWN_CONNECTION, ("grpc.service_config", service_config)])


async def sign_in(open_channel):
    """A new account's access token, as metadata."""
    handle = "u" + uuid.uuid4().hex[:20]
    password = "correct horse"
    accounts = identity_grpc.AccountServiceStub(open_channel)
    request = identity.CreateAccountRequest(handle=handle, password=password, request_id=handle)
    created = await accounts.CreateAccount(request, timeout=DEADLINE_SECONDS)
    sessions = identity_grpc.SessionServiceStub(open_channel)
    request = identity.CreateSessionRequest(handle=handle, password=password, at_least=[created.consistency_token])
    session = await sessions.CreateSession(request, timeout=DEADLINE_SECONDS)
    return [("authorization", "Bearer " + session.access_token)]


def hold(open_channel, metadata, until):
    """A call that has begun and whose message is sent when `until` is set: it has a place on the connection so long."""

    async def message():
        await until.wait()
        yield posts.BatchGetPostsRequest()

    method = open_channel.stream_unary(
        "/kith.posts.v1.PostService/BatchGetPosts",
        request_serializer=posts.BatchGetPostsRequest.SerializeToString,
        response_deserializer=posts.BatchGetPostsResponse.FromString,
    )
    return method(message(), metadata=metadata, timeout=DEADLINE_SECONDS)


async def code_of(call):
    try:
        await call
        return "OK"
    except grpc.aio.AioRpcError as error:
        return error.code().name


class UnavailableTwice(posts_grpc.PostServiceServicer):
    """Refuses a call twice, as a process does whose log does not answer, and then takes it."""

    def __init__(self):
        self.request_ids = []

    async def CreatePost(self, request, context):
        self.request_ids.append(request.request_id)
        if len(self.request_ids) < 3:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the log cannot be reached")
        return posts.CreatePostResponse()


async def refused_twice(service_config):
    """What becomes of such a call, how often it was made, and under how many request ids."""
    server, service = grpc.aio.server(), UnavailableTwice()
    posts_grpc.add_PostServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    options = [OWN_CONNECTION] + ([("grpc.service_config", service_config)] if service_config else [])
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as refusing:
        call = posts_grpc.PostServiceStub(refusing).CreatePost(posts.CreatePostRequest(request_id="one"), timeout=DEADLINE_SECONDS)
        code = await code_of(call)
    await server.stop(None)
    return {"code": code, "attempts": len(service.request_ids), "request_ids": len(set(service.request_ids))}


async def main(address, service_config):
    async with channel(address, None) as other:
        metadata = await sign_in(other)
    async with channel(address, service_config) as aged:
        await aged.channel_ready()
        release = asyncio.Event()
        held = [hold(aged, metadata, release) for _ in range(STREAMS_PER_CONNECTION)]
        service = posts_grpc.PostServiceStub(aged)
        run = uuid.uuid4().hex
        requests = [posts.CreatePostRequest(text=f"queued {n}", request_id=f"{run}-{n}") for n in range(QUEUED)]
        queued = [service.CreatePost(request, metadata=metadata, timeout=DEADLINE_SECONDS) for request in requests]
        codes = await asyncio.gather(*(code_of(call) for call in queued))
        still_held = sum(not call.done() for call in held)
        release.set()
        held_codes = await asyncio.gather(*(code_of(call) for call in held))
        # Made again under its request id each gives the same post: what was retried was made once.
        again = [await service.CreatePost(request, metadata=metadata, timeout=DEADLINE_SECONDS) for request in requests]
        same = [await call for call, code in zip(queued, codes) if code == "OK"]
        made_once = [answer.post.post_id for answer in same] == [
            answer.post.post_id for answer, code in zip(again, codes) if code == "OK"
        ]
    print(
        json.dumps(
            {
                "queued": dict(collections.Counter(codes)),
                "held": dict(collections.Counter(held_codes)),
                "held_when_the_queued_had_ended": still_held,
                "made_once": made_once,
                "refused_twice": await refused_twice(service_config),
            }
        )
    )


if __name__ == "__main__":
    config = open(sys.argv[2], encoding="utf-8").read() if len(sys.argv) > 2 else None
    asyncio.run(main(sys.argv[1], config))
