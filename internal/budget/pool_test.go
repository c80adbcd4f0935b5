package budget

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestEachHolderLeavesAsMuchAsItHas(t *testing.T) {
	t.Parallel()
	p := NewPool(1200)
	var got []int64
	for range 5 {
		s := p.Share(0)
		for s.Try(1) {
		}
		got = append(got, s.Held())
	}
	for i, want := range []int64{600, 300, 150, 75, 37} {
		if got[i] != want {
			t.Errorf("the holder %d, after the greedy ones before it, got %d of 1200; want %d", i, got[i], want)
		}
	}
	if s := p.Share(30); !s.Try(30) || !s.Try(10) || p.Free() != 1200-600-300-150-75-37-10 {
		t.Errorf("a new holder has not what is sure, or not what is left: %d free", p.Free())
	}
}

func TestTheLastFileIsForWhoHasNone(t *testing.T) {
	t.Parallel()
	p := NewPool(8)
	var got []int64
	for range 6 {
		s := p.Share(0)
		for s.Try(1) {
		}
		got = append(got, s.Held())
	}
	if want := []int64{4, 2, 1, 1, 0, 0}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestGreedyHoldersThatGrowTogetherLeaveAPart(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 3, 15, 99} {
		p := NewPool(100_000)
		shares := make([]*Share, n)
		for i := range shares {
			shares[i] = p.Share(0)
		}
		for more := true; more; {
			more = false
			for _, s := range shares {
				more = s.Try(7) || more
			}
		}
		want := int64(100_000 / (n + 1))
		for _, s := range shares {
			if held := s.Held(); held < want-20 || held > want+20 {
				t.Fatalf("%d holders: one has %d; want about %d", n, held, want)
			}
		}
		if p.Free() < want-20 {
			t.Errorf("%d holders leave %d; want about %d", n, p.Free(), want)
		}
	}
}

func TestTakeWaitsUntilItIsGivenBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := NewPool(100)
		a, b := p.Share(0), p.Share(0)
		if err := a.Take(t.Context(), 50); err != nil {
			t.Fatal(err)
		}
		got := make(chan error, 1)
		go func() { got <- b.Take(t.Context(), 40) }()
		synctest.Wait()
		if p.Waiting() != 1 || len(got) != 0 {
			t.Fatal("it does not wait")
		}
		a.Give(50)
		synctest.Wait()
		if err := <-got; err != nil || b.Held() != 40 || p.Free() != 60 {
			t.Errorf("%v, holds %d, %d free", err, b.Held(), p.Free())
		}
	})
}

// TestWhoHasSomeDoesNotStarve: it waits for itself, until it has given that back.
func TestWhoHasSomeDoesNotStarve(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := NewPool(100)
		other, s := p.Share(0), p.Share(10)
		other.Add(100)
		s.Add(1)
		got := make(chan error, 1)
		go func() { got <- s.Take(t.Context(), 40) }()
		synctest.Wait()
		if p.Waiting() != 1 || p.Starving() {
			t.Error("it does not wait, or counts as one that has nothing")
		}
		s.Give(1)
		if !p.Starving() {
			t.Error("it has nothing, and does not count as such")
		}
		other.Give(100)
		if err := <-got; err != nil || p.Starving() {
			t.Errorf("it waits no more: %v, starving %t", err, p.Starving())
		}
	})
}

func TestTakeIsRefusedWhatNobodyCanHave(t *testing.T) {
	t.Parallel()
	p := NewPool(100)
	s := p.Share(10)
	var e *TooLargeError
	if err := s.Take(t.Context(), 61); !errors.As(err, &e) || e.Most != 60 {
		t.Errorf("got %v", err)
	}
	if err := s.Take(t.Context(), 60); err != nil {
		t.Error(err)
	}
}

func TestTakeEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := NewPool(100)
		a, b, c := p.Share(0), p.Share(0), p.Share(0)
		a.Add(90)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := b.Take(ctx, 20); !errors.Is(err, context.DeadlineExceeded) || b.Held() != 0 || p.Waiting() != 0 {
			t.Errorf("got %v, holds %d, %d wait", err, b.Held(), p.Waiting())
		}
		if !c.Try(5) {
			t.Error("the rest is not to be had")
		}
		a.Give(90)
	})
}

func TestWhoHasNothingIsNotBlockedByTheGreedy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := NewPool(1000)
		greedy := p.Share(0)
		ctx, cancel := context.WithCancel(t.Context())
		for range 64 {
			go func() { _ = greedy.Take(ctx, 100) }()
		}
		synctest.Wait()
		for range 3 * maxPassed {
			s := p.Share(0)
			if err := s.Take(t.Context(), 100); err != nil {
				t.Fatal(err)
			}
			s.Give(100)
		}
		cancel()
		synctest.Wait()
		if p.Waiting() != 0 || greedy.Held() != 500 {
			t.Errorf("%d wait, the greedy one has %d", p.Waiting(), greedy.Held())
		}
	})
}

func TestALargeRequestIsNotPassedForEver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := NewPool(1000)
		small := []*Share{p.Share(0), p.Share(0)}
		small[0].Add(100)
		large := p.Share(0)
		done := make(chan error, 1)
		go func() { done <- large.Take(t.Context(), 500) }()
		synctest.Wait()
		passed := 0
		for ; small[(passed+1)%2].Try(100); passed++ { // one goes, another one comes
			small[passed%2].Give(100)
		}
		if passed < maxPassed-1 || passed > 2*maxPassed {
			t.Errorf("passed %d times", passed)
		}
		small[passed%2].Give(100)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestWhatIsSureNeverWaits(t *testing.T) {
	t.Parallel()
	p := NewPool(100)
	greedy := p.Share(0)
	greedy.Add(1000)
	if !greedy.Crowded() {
		t.Error("who has ten times the pool is not crowded")
	}
	s := p.Share(10)
	if err := s.Take(t.Context(), 10); err != nil || s.Crowded() {
		t.Error(err, s.Crowded())
	}
	if s.Try(1) {
		t.Error("more than that of nothing")
	}
	if p.Free() != 0 {
		t.Errorf("%d free", p.Free())
	}
}

// TestManyHoldersComeToAnEnd: whatever they take, all of them get it, and nothing is left.
func TestManyHoldersComeToAnEnd(t *testing.T) {
	t.Parallel()
	p := NewPool(1000)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	for i := range 32 {
		s, rnd := p.Share(int64(i%3)*10), rand.New(rand.NewPCG(1, uint64(i)))
		for range 2 {
			seed := rnd.Uint64()
			wg.Go(func() {
				rnd := rand.New(rand.NewPCG(2, seed))
				for range 300 {
					n := 1 + rnd.Int64N(s.Most())
					if rnd.IntN(3) == 0 {
						if s.Try(n) {
							s.Give(n)
						}
						continue
					}
					if err := s.Take(ctx, n); err != nil {
						t.Error(err)
						return
					}
					if p.Free() < 0 {
						t.Error("more is given than there is")
					}
					s.Give(n)
				}
			})
		}
	}
	wg.Wait()
	if p.Free() != 1000 || p.Waiting() != 0 {
		t.Errorf("%d free, %d wait", p.Free(), p.Waiting())
	}
}
