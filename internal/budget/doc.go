// Package budget shares out the scarce resources of a process: bytes of memory, open files,
// connections.
//
// A [Pool] is an amount of one of them. Each holder, such as a connection, has a [Share]:
// a small part that is sure, and as much of the rest as it leaves for the others. After
// each grant, a share holds beyond its sure part at most the amount that is still free. So
// one holder gets half of a pool at most, three greedy ones a quarter each, and a
// later one still finds a quarter.
//
//	pool := budget.NewPool(64 << 20)
//	share := pool.Share(16 << 10)
//	if err := share.Take(ctx, n); err != nil { … } // waits, or is refused for good
//	defer share.Give(n)
//
// # Waiting
//
// Take waits, Try does not. A holder of more than its sure part that waits for still more may
// deadlock with another such holder: give back first, and take all of it at once, or use Try. Pools
// that are taken one within the other have an order, which their owner writes down.
//
// All methods may be called concurrently.
package budget
