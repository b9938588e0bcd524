// A sample backend of a company: signs a person up, and posts for the person. Usage: node backend.js CONFIG.json (see ../README.md).
//
// It is a job that may be run again after any failure, also while it is still running elsewhere: every request id is made of the job's id,
// so what was done is not done twice. Prints what it did as one line of JSON, and its progress on standard error.

import { readFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import { setTimeout as sleep } from "node:timers/promises";
import { credentials, Metadata, status as codes } from "@grpc/grpc-js";
import type { CallOptions, ChannelCredentials, ClientOptions, ClientUnaryCall, ServiceError } from "@grpc/grpc-js";

import { ErrorInfo } from "./google/rpc/error_details.js";
import { Status } from "./google/rpc/status.js";
import { ReactionKind } from "./kith/engagement/v1/events.js";
import { ReactionServiceClient } from "./kith/engagement/v1/service.js";
import { FeedServiceClient, GetAuthorFeedRequest } from "./kith/feeds/v1/service.js";
import type { GetAuthorFeedResponse } from "./kith/feeds/v1/service.js";
import { AccountServiceClient, CreateAccountRequest } from "./kith/identity/v1/service.js";
import type { CreateAccountResponse } from "./kith/identity/v1/service.js";
import {
  AcceptConversationRequest,
  Consent,
  ConversationServiceClient,
  ListConversationsRequest,
  StreamUpdatesRequest,
  UpdateServiceClient,
} from "./kith/messaging/v1/service.js";
import type { StreamUpdatesResponse } from "./kith/messaging/v1/service.js";
import { CreatePostRequest, PostServiceClient } from "./kith/posts/v1/service.js";
import type { CreatePostResponse } from "./kith/posts/v1/service.js";
import { TokenServiceClient } from "./kith/tokens/v1/service.js";

type Service = "identity" | "posts" | "engagement" | "messaging" | "feeds";

interface Config {
  services: Record<Service, string>;
  ca_file: string;
  certificate_file: string;
  key_file: string;
  server_name?: string;
  service_config_file: string;
  subject_token_file: string;
  handle: string;
  job: string;
  posts: number;
  messages: number;
}

// For a call with all its attempts. Without a deadline a call to a process that hangs never ends.
const DEADLINE_MS = 15_000;
const CALLS_AT_A_TIME = 8;
// How often another handle is tried.
const HANDLES = 10;
const PAGE = 100;
// A stream that ends so is opened again where it was: its replica went away, or this job did not read fast enough.
const STREAM_ENDS = [codes.UNAVAILABLE, codes.RESOURCE_EXHAUSTED, codes.CANCELLED, codes.UNKNOWN];
const STREAM_AGAIN_MS = 100;

type Client<T> = new (address: string, credentials: ChannelCredentials, options: ClientOptions) => T;

// A way to all replicas of a service, by mTLS. A process makes it once: it connects, and connects again, by itself. grpc-js reads the
// certificate only here. Make new clients before it expires, or restart.
function connect<T>(config: Config, service: Service, client: Client<T>): T {
  const [ca, key, certificate] = [config.ca_file, config.key_file, config.certificate_file].map((file) => readFileSync(file));
  const options: ClientOptions = { "grpc.service_config": readFileSync(config.service_config_file, "utf8") };
  if (config.server_name) {
    // The name in the service's certificate, where it is not the one in the address.
    options["grpc.ssl_target_name_override"] = config.server_name;
  }
  return new client(config.services[service], credentials.createSsl(ca, key, certificate), options);
}

type Done<A> = (error: ServiceError | null, answer: A) => void;
type Method<Q, A> = (request: Q, metadata: Metadata, options: Partial<CallOptions>, done: Done<A>) => ClientUnaryCall;

// A call with a deadline.
function call<Q, A>(client: object, method: Method<Q, A>, request: Q, metadata = new Metadata()): Promise<A> {
  return new Promise((resolve, reject) => {
    const options = { deadline: Date.now() + DEADLINE_MS };
    method.call(client, request, metadata, options, (error, answer) => (error ? reject(error) : resolve(answer)));
  });
}

// Why Kith refused a call, as kith.errors.v1.Reason lists it. Undefined: the error is not Kith's. Messages may change, reasons do not.
function reason(error: unknown): string | undefined {
  const [bytes] = (error as Partial<ServiceError>).metadata?.get("grpc-status-details-bin") ?? [];
  const details = bytes instanceof Buffer ? Status.decode(bytes).details : [];
  const infos = details.filter((detail) => detail.typeUrl.endsWith("/google.rpc.ErrorInfo"));
  return infos.map((detail) => ErrorInfo.decode(detail.value)).find((info) => info.domain === "kith")?.reason;
}

// The account of the person that the token of the company's own sign-in proves, and the reasons why handles were refused.
async function signUp(accounts: AccountServiceClient, subjectToken: string, config: Config): Promise<[CreateAccountResponse, string[]]> {
  const refused: string[] = [];
  for (let number = 1; number <= HANDLES; number++) {
    const handle = number === 1 ? config.handle : `${config.handle}_${number}`;
    const request = CreateAccountRequest.fromPartial({ handle, subjectToken, requestId: `${config.job}/account` });
    try {
      return [await call(accounts, accounts.createAccount, request), refused];
    } catch (error) {
      // IDENTITY_TAKEN (the person has an account by another job) is ALREADY_EXISTS too: the code alone does not tell.
      if (reason(error) !== "HANDLE_TAKEN") throw error;
      refused.push("HANDLE_TAKEN");
    }
  }
  throw new Error(`${HANDLES} handles like ${config.handle} are taken`);
}

// The job's posts, several at a time. Those that a replica did not answer are repeated by the client, under the same request id.
async function publish(service: PostServiceClient, config: Config, metadata: Metadata, accountToken: string) {
  const answers: CreatePostResponse[] = [];
  let [next, done] = [0, 0];
  const worker = async () => {
    while (next < config.posts) {
      const index = next++;
      // The token: this service must know of the account first.
      const [text, requestId] = [`${config.job} post ${index + 1}`, `${config.job}/post/${index + 1}`];
      const request = CreatePostRequest.fromPartial({ text, requestId, atLeast: [accountToken] });
      answers[index] = await call(service, service.createPost, request, metadata);
      console.error(`posted ${++done}`);
    }
  };
  await Promise.all(Array.from({ length: CALLS_AT_A_TIME }, worker));
  return answers;
}

// The ids of all posts of the account, with at least those that the token names.
async function authorFeed(service: FeedServiceClient, accountId: string, token: string, metadata: Metadata) {
  const found: (string | undefined)[] = [];
  let pageToken = "";
  do {
    const request = GetAuthorFeedRequest.fromPartial({ accountId, pageSize: PAGE, pageToken, atLeast: [token] });
    const page: GetAuthorFeedResponse = await call(service, service.getAuthorFeed, request, metadata);
    found.push(...page.items.map((item) => item.post?.postId));
    pageToken = page.nextPageToken;
  } while (pageToken);
  return found;
}

// The numbers of the messages in the person's one conversation, each as it is told, over all replicas, and the last cursor. Accepts a request.
async function follow(updates: UpdateServiceClient, conversations: ConversationServiceClient, config: Config, metadata: Metadata, token: string) {
  let told: number[] = [];
  let cursor = "";
  while (told.length < config.messages) {
    const stream = updates.streamUpdates(StreamUpdatesRequest.fromPartial({ cursor, atLeast: [token] }), metadata);
    try {
      for await (const update of stream as AsyncIterable<StreamUpdatesResponse>) {
        if (update.message) {
          told.push(update.message.number);
          console.error(`told ${told.length}`);
        }
        if (update.conversation) {
          const { conversationId, lastMessageNumber, consent } = update.conversation;
          // Before anything else is told a conversation stands for all its messages.
          if (!cursor && !told.length) told = Array.from({ length: lastMessageNumber }, (_, index) => index + 1);
          if (consent === Consent.CONSENT_REQUESTED) {
            const accept = AcceptConversationRequest.fromPartial({ conversationId });
            await call(conversations, conversations.acceptConversation, accept, metadata);
          }
        }
        cursor = update.cursor || cursor;
        if (told.length >= config.messages) break;
      }
    } catch (error) {
      if (!STREAM_ENDS.includes((error as ServiceError).code)) throw error;
      await sleep(STREAM_AGAIN_MS);
    } finally {
      // The stream reports its own end as an error, also when nobody reads it any more.
      stream.on("error", () => {});
      stream.cancel();
    }
  }
  return [told, cursor] as const;
}

const config: Config = JSON.parse(readFileSync(process.argv[2], "utf8"));
const accounts = connect(config, "identity", AccountServiceClient);
const subjectToken = readFileSync(config.subject_token_file, "utf8").trim();
const [made, refused] = await signUp(accounts, subjectToken, config);
const [again] = await signUp(accounts, subjectToken, config);
const account = made.account!;
console.error(`account ${account.accountId} of ${account.handle}`);

// The service itself is known by its certificate.
const metadata = new Metadata();
metadata.set("kith-on-behalf-of", account.accountId);
const answers = await publish(connect(config, "posts", PostServiceClient), config, metadata, made.consistencyToken);

// A request takes at most 8 tokens.
const tokens = connect(config, "posts", TokenServiceClient);
const every = { tokens: answers.map((answer) => answer.consistencyToken) };
const seen = await call(tokens, tokens.mergeTokens, every, metadata);
const inFeed = await authorFeed(connect(config, "feeds", FeedServiceClient), account.accountId, seen.token, metadata);

// Its own write, in another service: without the token the post may not be known there yet.
const last = answers[answers.length - 1];
const postId = last.post!.postId;
const subject = { postId, commentId: "" };
const [requestId, atLeast] = [`${config.job}/like`, [last.consistencyToken]];
const reactions = connect(config, "engagement", ReactionServiceClient);
await call(reactions, reactions.react, { subject, kind: ReactionKind.REACTION_KIND_LIKE, requestId, atLeast }, metadata);

const conversations = connect(config, "messaging", ConversationServiceClient);
const updates = connect(config, "messaging", UpdateServiceClient);
const [told, cursor] = await follow(updates, conversations, config, metadata, made.consistencyToken);
// What was told is there, at every replica that is asked with its cursor.
const inbox = ListConversationsRequest.fromPartial({ atLeast: [cursor || made.consistencyToken] });
const listed = await call(conversations, conversations.listConversations, inbox, metadata);

const did = {
  account_id: account.accountId,
  handle: account.handle,
  same_account_again: isDeepStrictEqual(again.account, account),
  refused,
  posts: answers.map((answer) => answer.post?.postId),
  in_feed: inFeed,
  liked: postId,
  conversations: listed.conversations.length,
  told,
};
console.log(JSON.stringify(did));
