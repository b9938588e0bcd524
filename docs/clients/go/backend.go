// A sample backend of a company: signs a person up, and posts for the person. Usage: backend CONFIG.json (see ../README.md).
//
// It is a job that may be run again after any failure, also while it is still running elsewhere: every request id is made of the job's
// id, so what was done is not done twice. Prints what it did as one line of JSON, and its progress on standard error.
package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	engagement "example.com/backend/kith/engagement/v1"
	feeds "example.com/backend/kith/feeds/v1"
	identity "example.com/backend/kith/identity/v1"
	messaging "example.com/backend/kith/messaging/v1"
	posts "example.com/backend/kith/posts/v1"
	tokens "example.com/backend/kith/tokens/v1"
)

const (
	// For a call with all its attempts. Without a deadline a call to a process that hangs never ends.
	deadline     = 15 * time.Second
	callsAtATime = 8
	// How often another handle is tried.
	handles  = 10
	pageSize = 100
	// Before a stream that ended is opened again.
	streamAgain = 100 * time.Millisecond
)

type config struct {
	Services          map[string]string `json:"services"`
	CAFile            string            `json:"ca_file"`
	CertificateFile   string            `json:"certificate_file"`
	KeyFile           string            `json:"key_file"`
	ServerName        string            `json:"server_name"`
	ServiceConfigFile string            `json:"service_config_file"`
	SubjectTokenFile  string            `json:"subject_token_file"`
	Handle            string            `json:"handle"`
	Job               string            `json:"job"`
	Posts             int               `json:"posts"`
	Messages          int               `json:"messages"`
}

// connect gives a way to all replicas of a service, by mTLS. A process makes it once: it connects, and connects again, by itself.
func connect(c config, service string) (*grpc.ClientConn, error) {
	ca, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("no certificate in %s", c.CAFile)
	}
	serviceConfig, err := os.ReadFile(c.ServiceConfigFile)
	if err != nil {
		return nil, err
	}
	// Read for every connection: a renewed certificate needs no restart.
	own := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(c.CertificateFile, c.KeyFile)
		return &pair, err
	}
	// ServerName: the name in the service's certificate, where it is not the one in the address.
	secured := credentials.NewTLS(&tls.Config{RootCAs: roots, GetClientCertificate: own, ServerName: c.ServerName})
	target := c.Services[service]
	options := []grpc.DialOption{grpc.WithTransportCredentials(secured), grpc.WithDefaultServiceConfig(string(serviceConfig))}
	// grpc-go resolves dns:///… but, unlike others, not ipv4:ADDRESS,ADDRESS.
	if list, found := strings.CutPrefix(target, "ipv4:"); found {
		var known resolver.State
		for _, address := range strings.Split(list, ",") {
			known.Endpoints = append(known.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: address}}})
		}
		listed := manual.NewBuilderWithScheme("ipv4")
		listed.InitialState(known)
		options = append(options, grpc.WithResolvers(listed))
	}
	return grpc.NewClient(target, options...)
}

// call makes a call with a deadline.
func call[Q, A any](ctx context.Context, method func(context.Context, Q, ...grpc.CallOption) (A, error), request Q) (A, error) {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	return method(ctx, request)
}

// reason tells why Kith refused a call, as kith.errors.v1.Reason lists it. Empty: the error is not Kith's. Messages may change,
// reasons do not.
func reason(err error) string {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.GetDomain() == "kith" {
			return info.GetReason()
		}
	}
	return ""
}

// signUp gives the account of the person that the token of the company's own sign-in proves, and why handles were refused.
func signUp(ctx context.Context, accounts identity.AccountServiceClient, token string, c config) (*identity.CreateAccountResponse, []string, error) {
	refused := []string{}
	for number := 1; number <= handles; number++ {
		wanted := c.Handle
		if number > 1 {
			wanted = fmt.Sprintf("%s_%d", c.Handle, number)
		}
		request := &identity.CreateAccountRequest{Handle: wanted, SubjectToken: token, RequestId: c.Job + "/account"}
		made, err := call(ctx, accounts.CreateAccount, request)
		// IDENTITY_TAKEN (the person has an account by another job) is ALREADY_EXISTS too: the code alone does not tell.
		if reason(err) != "HANDLE_TAKEN" {
			return made, refused, err
		}
		refused = append(refused, "HANDLE_TAKEN")
	}
	return nil, nil, fmt.Errorf("%d handles like %s are taken", handles, c.Handle)
}

// publish makes the job's posts, several at a time. Those that a replica did not answer are repeated by the channel, under the same
// request id.
func publish(ctx context.Context, service posts.PostServiceClient, c config, accountToken string) ([]*posts.CreatePostResponse, error) {
	answers, failures := make([]*posts.CreatePostResponse, c.Posts), make([]error, c.Posts)
	var workers sync.WaitGroup
	var done atomic.Int32
	numbers := make(chan int)
	for range callsAtATime {
		workers.Go(func() {
			for number := range numbers {
				// The token: this service must know of the account first.
				answer, err := call(ctx, service.CreatePost, &posts.CreatePostRequest{
					Text:      fmt.Sprintf("%s post %d", c.Job, number),
					RequestId: fmt.Sprintf("%s/post/%d", c.Job, number),
					AtLeast:   []string{accountToken},
				})
				if answers[number-1], failures[number-1] = answer, err; err == nil {
					fmt.Fprintln(os.Stderr, "posted", done.Add(1))
				}
			}
		})
	}
	for number := 1; number <= c.Posts; number++ {
		numbers <- number
	}
	close(numbers)
	workers.Wait()
	return answers, errors.Join(failures...)
}

// authorFeed gives the ids of all posts of the account, with at least those that the token names.
func authorFeed(ctx context.Context, service feeds.FeedServiceClient, accountID, token string) ([]string, error) {
	found := []string{}
	request := &feeds.GetAuthorFeedRequest{AccountId: accountID, PageSize: pageSize, AtLeast: []string{token}}
	for {
		page, err := call(ctx, service.GetAuthorFeed, request)
		if err != nil {
			return nil, err
		}
		for _, item := range page.Items {
			found = append(found, item.Post.PostId)
		}
		if request.PageToken = page.NextPageToken; request.PageToken == "" {
			return found, nil
		}
	}
}

// follow gives the numbers of the messages in the person's one conversation, each as it is told, over all replicas, and the last
// cursor. It accepts a request.
func follow(ctx context.Context, connection *grpc.ClientConn, c config, accountToken string) ([]uint64, string, error) {
	updates, conversations := messaging.NewUpdateServiceClient(connection), messaging.NewConversationServiceClient(connection)
	told, request := []uint64{}, &messaging.StreamUpdatesRequest{AtLeast: []string{accountToken}}
	for len(told) < c.Messages {
		err := followOnce(ctx, updates, conversations, request, c, &told)
		switch status.Code(err) {
		case codes.OK:
		// Opened again where it was: its replica went away, or this job did not read fast enough.
		case codes.Unavailable, codes.ResourceExhausted, codes.Canceled, codes.Unknown:
			time.Sleep(streamAgain)
		default:
			return nil, "", err
		}
	}
	return told, request.Cursor, nil
}

// followOnce reads one stream until all is told or the stream ends, and leaves its place in the request.
func followOnce(ctx context.Context, updates messaging.UpdateServiceClient, conversations messaging.ConversationServiceClient,
	request *messaging.StreamUpdatesRequest, c config, told *[]uint64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := updates.StreamUpdates(ctx, request)
	if err != nil {
		return err
	}
	for len(*told) < c.Messages {
		update, err := stream.Recv()
		if err != nil {
			return err
		}
		if update.Cursor != "" {
			request.Cursor = update.Cursor
		}
		if message := update.GetMessage(); message != nil {
			*told = append(*told, message.Number)
			fmt.Fprintln(os.Stderr, "told", len(*told))
		}
		if conversation := update.GetConversation(); conversation != nil {
			// Before anything else is told a conversation stands for all its messages.
			for number := uint64(1); len(*told) < int(conversation.LastMessageNumber) && request.Cursor == ""; number++ {
				*told = append(*told, number)
			}
			if conversation.Consent == messaging.Consent_CONSENT_REQUESTED {
				accept := &messaging.AcceptConversationRequest{ConversationId: conversation.ConversationId}
				if _, err := call(ctx, conversations.AcceptConversation, accept); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func run(c config) (map[string]any, error) {
	ctx := context.Background()
	to := map[string]*grpc.ClientConn{}
	for service := range c.Services {
		connection, err := connect(c, service)
		if err != nil {
			return nil, err
		}
		defer connection.Close()
		to[service] = connection
	}
	token, err := os.ReadFile(c.SubjectTokenFile)
	if err != nil {
		return nil, err
	}
	accounts, subjectToken := identity.NewAccountServiceClient(to["identity"]), strings.TrimSpace(string(token))
	made, refused, err := signUp(ctx, accounts, subjectToken, c)
	if err != nil {
		return nil, fmt.Errorf("sign-up: %w", err)
	}
	again, _, err := signUp(ctx, accounts, subjectToken, c)
	if err != nil {
		return nil, fmt.Errorf("sign-up again: %w", err)
	}
	account := made.Account
	fmt.Fprintln(os.Stderr, "account", account.AccountId, "of", account.Handle)

	// The service itself is known by its certificate.
	ctx = metadata.AppendToOutgoingContext(ctx, "kith-on-behalf-of", account.AccountId)
	answers, err := publish(ctx, posts.NewPostServiceClient(to["posts"]), c, made.ConsistencyToken)
	if err != nil {
		return nil, fmt.Errorf("posts: %w", err)
	}
	ids, every := []string{}, &tokens.MergeTokensRequest{}
	for _, answer := range answers {
		ids, every.Tokens = append(ids, answer.Post.PostId), append(every.Tokens, answer.ConsistencyToken)
	}

	// A request takes at most 8 tokens.
	seen, err := call(ctx, tokens.NewTokenServiceClient(to["posts"]).MergeTokens, every)
	if err != nil {
		return nil, fmt.Errorf("tokens: %w", err)
	}
	inFeed, err := authorFeed(ctx, feeds.NewFeedServiceClient(to["feeds"]), account.AccountId, seen.Token)
	if err != nil {
		return nil, fmt.Errorf("feed: %w", err)
	}

	// Its own write, in another service: without the token the post may not be known there yet.
	last := answers[len(answers)-1]
	_, err = call(ctx, engagement.NewReactionServiceClient(to["engagement"]).React, &engagement.ReactRequest{
		Subject:   &engagement.Subject{PostId: last.Post.PostId},
		Kind:      engagement.ReactionKind_REACTION_KIND_LIKE,
		RequestId: c.Job + "/like",
		AtLeast:   []string{last.ConsistencyToken},
	})
	if err != nil {
		return nil, fmt.Errorf("reaction: %w", err)
	}
	told, cursor, err := follow(ctx, to["messaging"], c, made.ConsistencyToken)
	if err != nil {
		return nil, fmt.Errorf("updates: %w", err)
	}
	// What was told is there, at every replica that is asked with its cursor.
	inbox := &messaging.ListConversationsRequest{AtLeast: []string{cmp.Or(cursor, made.ConsistencyToken)}}
	listed, err := call(ctx, messaging.NewConversationServiceClient(to["messaging"]).ListConversations, inbox)
	if err != nil {
		return nil, fmt.Errorf("conversations: %w", err)
	}
	return map[string]any{
		"account_id": account.AccountId, "handle": account.Handle, "same_account_again": proto.Equal(again.Account, account),
		"refused": refused, "posts": ids, "in_feed": inFeed, "liked": last.Post.PostId, "conversations": len(listed.Conversations), "told": told,
	}, nil
}

func main() {
	var c config
	text, err := os.ReadFile(os.Args[1])
	if err == nil {
		err = json.Unmarshal(text, &c)
	}
	var did map[string]any
	if err == nil {
		did, err = run(c)
	}
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(did)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
