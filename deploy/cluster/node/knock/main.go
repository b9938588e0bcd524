// A caller that never repeats a call: knock SECONDS PAUSE_MS METHOD=ADDRESS... asks each method with an empty message,
// one call at a time over one connection each, and prints how often it got each answer and the longest time without
// any. Its last line adds up. Whatever the service itself says (INVALID_ARGUMENT, UNAUTHENTICATED, OK) is an answer.
// Exit code 1: a call got none, or a method never answered.
package main

import (
	"context"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

type raw struct{}

func (raw) Marshal(any) ([]byte, error)     { return nil, nil }
func (raw) Unmarshal(_ []byte, _ any) error { return nil }
func (raw) Name() string                    { return "proto" }

func answered(c codes.Code) bool {
	switch c {
	case codes.Unavailable, codes.Unknown, codes.Internal, codes.Canceled, codes.DeadlineExceeded, codes.Unimplemented:
		return false
	}
	return true
}

func main() {
	seconds, _ := strconv.Atoi(os.Args[1])
	pause, _ := strconv.Atoi(os.Args[2])
	var all sync.WaitGroup
	var printing sync.Mutex
	var asked, without, silent int
	longest := time.Duration(0)
	end := time.Now().Add(time.Duration(seconds) * time.Second)
	for _, target := range os.Args[3:] {
		method, address, _ := strings.Cut(target, "=")
		all.Add(1)
		go func() {
			defer all.Done()
			connection, err := grpc.NewClient("dns:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()),
				grpc.WithDisableRetry(), grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{})),
				grpc.WithDefaultServiceConfig(os.Getenv("SERVICE_CONFIG")))
			if err != nil {
				panic(err)
			}
			// A policy takes a moment to know a new pod: counting begins with the first answer.
			for time.Now().Before(end) {
				ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
				err := connection.Invoke(ctx, "/"+method, struct{}{}, &struct{}{})
				cancel()
				if answered(status.Code(err)) {
					break
				}
				time.Sleep(100 * time.Millisecond)
			}
			counts, lost := map[codes.Code]int{}, []string{}
			last, gap := time.Now(), time.Duration(0)
			for time.Now().Before(end) {
				ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
				err := connection.Invoke(ctx, "/"+method, struct{}{}, &struct{}{})
				cancel()
				code := status.Code(err)
				counts[code]++
				if answered(code) {
					gap = max(gap, time.Since(last))
					last = time.Now()
				} else if len(lost) < 6 {
					lost = append(lost, time.Now().Format("15:04:05.000 ")+status.Convert(err).Message())
				}
				time.Sleep(time.Duration(pause) * time.Millisecond)
			}
			names := []string{}
			printing.Lock()
			answers := 0
			for code, n := range counts {
				names = append(names, fmt.Sprintf("%s %d", code, n))
				asked += n
				if answered(code) {
					answers += n
				} else {
					without += n
				}
			}
			if answers == 0 {
				silent++
			}
			longest = max(longest, gap)
			sort.Strings(names)
			fmt.Printf("%s: %s; longest without an answer %v\n", method, strings.Join(names, ", "), gap.Round(time.Millisecond))
			for _, line := range lost {
				fmt.Println("   ", line)
			}
			printing.Unlock()
		}()
	}
	all.Wait()
	fmt.Printf("calls %d, lost %d, methods without an answer %d, longest time without one %v\n",
		asked, without, silent, longest.Round(time.Millisecond))
	if without+silent > 0 {
		os.Exit(1)
	}
}
