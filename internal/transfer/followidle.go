package transfer

import (
	"context"
	"fmt"
	"time"

	"github.com/dirstorage/dirstorage/internal/zeoclient"
)

// questions is how many questions a follower asks in the time of FollowOptions.Silence while it waits.
const questions = 4

// idle waits for more. It asks the server something all the while: on a connection whose other end has gone without a word, nothing
// comes, as on one to a server that has nothing to tell.
func (f *follower) idle(ctx context.Context, c *zeoclient.Client, news <-chan struct{}) error {
	var answer chan error // nil: nothing was asked
	looks := max(int(f.o.Silence/f.o.Every), 1)
	pause := max(looks/questions, 1)
	for quiet := 0; ; {
		f.report(true)
		select {
		case <-news:
			return nil
		case err := <-answer:
			if err != nil {
				return err
			}
			answer, quiet = nil, 0
		case <-time.After(f.o.Every):
			quiet++ // a machine that is too busy to look waits longer
		case <-c.Done():
			return c.Err()
		case <-ctx.Done():
			return ctx.Err()
		}
		switch {
		case answer == nil && quiet >= pause:
			answer, quiet = make(chan error, 1), 0
			go func(answer chan<- error) { // ends with the connection
				_, err := c.LastTransaction(ctx)
				answer <- err
			}(answer)
		case answer != nil && quiet >= looks:
			return lostError{fmt.Errorf("connection lost: the server has answered nothing for %s: it hangs, or the connection was cut off", f.o.Silence)}
		}
	}
}
