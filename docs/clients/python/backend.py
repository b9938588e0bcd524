"""A sample backend of a company: signs a person up, and posts for the person. Usage: backend.py CONFIG.json (see ../README.md).

It is a job that may be run again after any failure, also while it is still running elsewhere: every request id is made of the job's id,
so what was done is not done twice. Prints what it did as one line of JSON, and its progress on standard error.
"""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from kith.engagement.v1 import events_pb2 as engagement_events
from kith.engagement.v1 import service_pb2 as engagement
from kith.engagement.v1 import service_pb2_grpc as engagement_grpc
from kith.feeds.v1 import service_pb2 as feeds
from kith.feeds.v1 import service_pb2_grpc as feeds_grpc
from kith.identity.v1 import service_pb2 as identity
from kith.identity.v1 import service_pb2_grpc as identity_grpc
from kith.messaging.v1 import service_pb2 as messaging
from kith.messaging.v1 import service_pb2_grpc as messaging_grpc
from kith.posts.v1 import service_pb2 as posts
from kith.posts.v1 import service_pb2_grpc as posts_grpc
from kith.tokens.v1 import service_pb2 as tokens
from kith.tokens.v1 import service_pb2_grpc as tokens_grpc

# For a call with all its attempts. Without a deadline a call to a process that hangs never ends.
DEADLINE_SECONDS = 15
CALLS_AT_A_TIME = 8
# How often another handle is tried.
HANDLES = 10
PAGE = 100
# A stream that ends so is opened again where it was: its replica went away, or this job did not read fast enough.
STREAM_ENDS = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN)
STREAM_AGAIN_SECONDS = 0.1


def file(path):
    with open(path, "rb") as opened:
        return opened.read()


def channel(config, service):
    """A way to all replicas of a service, by mTLS. A process makes it once: it connects, and connects again, by itself.

    grpcio reads the certificate only here. Make new channels before it expires, or restart.
    """
    credentials = grpc.ssl_channel_credentials(
        file(config["ca_file"]), file(config["key_file"]), file(config["certificate_file"])
    )
    options = [("grpc.service_config", file(config["service_config_file"]).decode())]
    if "server_name" in config:  # the name in the service's certificate, where it is not the one in the address
        options.append(("grpc.ssl_target_name_override", config["server_name"]))
    return grpc.secure_channel(config["services"][service], credentials, options)


def reason(error):
    """Why Kith refused a call, as kith.errors.v1.Reason lists it. `None`: the error is not Kith's. Messages may change, reasons do not."""
    status = rpc_status.from_call(error)
    for detail in status.details if status else []:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info) and info.domain == "kith":
            return info.reason
    return None


def sign_up(accounts, subject_token, handle, job):
    """The account of the person that the token of the company's own sign-in proves, and the reasons why handles were refused."""
    refused = []
    for number in range(1, HANDLES + 1):
        wanted = handle if number == 1 else f"{handle}_{number}"
        request = identity.CreateAccountRequest(handle=wanted, subject_token=subject_token, request_id=f"{job}/account")
        try:
            return accounts.CreateAccount(request, timeout=DEADLINE_SECONDS), refused
        except grpc.RpcError as error:
            # IDENTITY_TAKEN (the person has an account by another job) is ALREADY_EXISTS too: the code alone does not tell.
            if reason(error) != "HANDLE_TAKEN":
                raise
            refused.append("HANDLE_TAKEN")
    raise RuntimeError(f"{HANDLES} handles like {handle} are taken")


def publish(post_service, config, metadata, account_token):
    """The job's posts, several at a time. Those that a replica did not answer are repeated by the channel, under the same request id."""

    def one(number):
        # The token: this service must know of the account first.
        text, request_id = f"{config['job']} post {number}", f"{config['job']}/post/{number}"
        request = posts.CreatePostRequest(text=text, request_id=request_id, at_least=[account_token])
        return post_service.CreatePost(request, metadata=metadata, timeout=DEADLINE_SECONDS)

    with ThreadPoolExecutor(CALLS_AT_A_TIME) as pool:
        calls = [pool.submit(one, number) for number in range(1, config["posts"] + 1)]
        for done, call in enumerate(as_completed(calls), start=1):
            call.result()
            print(f"posted {done}", file=sys.stderr, flush=True)
    return [call.result() for call in calls]


def author_feed(feed_service, account_id, token, metadata):
    """The ids of all posts of the account, with at least those that the token names."""
    found, page_token = [], ""
    while True:
        request = feeds.GetAuthorFeedRequest(account_id=account_id, page_size=PAGE, page_token=page_token, at_least=[token])
        page = feed_service.GetAuthorFeed(request, metadata=metadata, timeout=DEADLINE_SECONDS)
        found += [item.post.post_id for item in page.items]
        page_token = page.next_page_token
        if not page_token:
            return found


def follow(updates, conversations, config, metadata, account_token):
    """The numbers of the messages in the person's one conversation, each as it is told, over all replicas, and the last cursor. Accepts a request."""
    told, cursor = [], ""
    while len(told) < config["messages"]:
        request = messaging.StreamUpdatesRequest(cursor=cursor, at_least=[account_token])
        try:
            for update in updates.StreamUpdates(request, metadata=metadata):
                what = update.WhichOneof("update")
                if what == "message":
                    told.append(update.message.number)
                    print(f"told {len(told)}", file=sys.stderr, flush=True)
                elif what == "conversation":
                    # Before anything else is told a conversation stands for all its messages.
                    if not told and not cursor:
                        told = list(range(1, update.conversation.last_message_number + 1))
                    if update.conversation.consent == messaging.CONSENT_REQUESTED:
                        accept = messaging.AcceptConversationRequest(conversation_id=update.conversation.conversation_id)
                        conversations.AcceptConversation(accept, metadata=metadata, timeout=DEADLINE_SECONDS)
                cursor = update.cursor or cursor
                if len(told) >= config["messages"]:
                    break
        except grpc.RpcError as error:
            if error.code() not in STREAM_ENDS:
                raise
            time.sleep(STREAM_AGAIN_SECONDS)
    return told, cursor


def main(config):
    to = {service: channel(config, service) for service in config["services"]}
    accounts = identity_grpc.AccountServiceStub(to["identity"])
    subject_token = file(config["subject_token_file"]).decode().strip()
    made, refused = sign_up(accounts, subject_token, config["handle"], config["job"])
    again, _ = sign_up(accounts, subject_token, config["handle"], config["job"])
    account = made.account
    print(f"account {account.account_id} of {account.handle}", file=sys.stderr)

    # The service itself is known by its certificate.
    metadata = [("kith-on-behalf-of", account.account_id)]
    answers = publish(posts_grpc.PostServiceStub(to["posts"]), config, metadata, made.consistency_token)

    # A request takes at most 8 tokens.
    every = tokens.MergeTokensRequest(tokens=[answer.consistency_token for answer in answers])
    seen = tokens_grpc.TokenServiceStub(to["posts"]).MergeTokens(every, metadata=metadata, timeout=DEADLINE_SECONDS).token
    in_feed = author_feed(feeds_grpc.FeedServiceStub(to["feeds"]), account.account_id, seen, metadata)

    # Its own write, in another service: without the token the post may not be known there yet.
    last = answers[-1]
    react = engagement.ReactRequest(
        subject=engagement_events.Subject(post_id=last.post.post_id),
        kind=engagement_events.REACTION_KIND_LIKE,
        request_id=f"{config['job']}/like",
        at_least=[last.consistency_token],
    )
    engagement_grpc.ReactionServiceStub(to["engagement"]).React(react, metadata=metadata, timeout=DEADLINE_SECONDS)
    conversations = messaging_grpc.ConversationServiceStub(to["messaging"])
    updates = messaging_grpc.UpdateServiceStub(to["messaging"])
    told, cursor = follow(updates, conversations, config, metadata, made.consistency_token)
    # What was told is there, at every replica that is asked with its cursor.
    inbox = messaging.ListConversationsRequest(at_least=[cursor or made.consistency_token])
    listed = conversations.ListConversations(inbox, metadata=metadata, timeout=DEADLINE_SECONDS)

    did = {
        "account_id": account.account_id,
        "handle": account.handle,
        "same_account_again": again.account == account,
        "refused": refused,
        "posts": [answer.post.post_id for answer in answers],
        "in_feed": in_feed,
        "liked": last.post.post_id,
        "conversations": len(listed.conversations),
        "told": told,
    }
    print(json.dumps(did))


if __name__ == "__main__":
    main(json.loads(file(sys.argv[1])))
