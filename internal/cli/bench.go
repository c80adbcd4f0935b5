package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dirstorage/dirstorage/internal/bench"
	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
)

type benchCommand struct {
	server   string
	objects  int
	duration time.Duration
	sustain  time.Duration
	blobSize int64
	runs     int
	only     []string
	msgpack  bool
	yes      bool
	json     bool
	tls      clientTLS
}

func newBench(e *env) *cobra.Command {
	var o benchCommand
	c := &cobra.Command{
		Use:         "bench zeo://HOST:PORT/STORAGE",
		Annotations: interruptible("the objects that it wrote are in the storage until it is packed; run it again, with --yes"),
		SuggestFor:  []string{"benchmark"},
		Short:       "Measure a ZEO server: loads, commits, both together, blobs",
		Long: `Measure how fast a ZEO server is, this project's or Python's. The address is as for
import. The load comes from this machine: if the server runs on it too, they share
its processors.

IT WRITES INTO THAT STORAGE: --objects new objects of 800 bytes, then
transactions that change five of them each, and blobs. Existing objects are not
touched, and as nothing refers to the new objects a pack takes them away again. If
there are transactions in the storage it wants --yes.

` + strings.Join(wrap("Measurements: "+strings.Join(bench.Names(), ", ")+".", 85, 0, 0, true), "\n") + `
load-CxP loads objects over C connections, each with P requests under way;
commit-C commits over C connections; sustain (8 connections) is made with --sustain only.`,
		Example: `  dirstorage bench zeo://127.0.0.1:8100
  dirstorage bench --only load,commit-8 --runs 5 --json zeo://127.0.0.1:8100
  dirstorage bench --only sustain --sustain 5m zeo:///run/dirstorage/zeo.sock`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			o.server = args[0]
			return o.run(c.Context(), e)
		},
	}
	c.Flags().IntVar(&o.objects, "objects", 10_000, "how many objects the loads and commits choose from")
	c.Flags().DurationVar(&o.duration, "duration", 5*time.Second, "of each measurement")
	c.Flags().DurationVar(&o.sustain, "sustain", 0, "commit for so long, and tell the longest stall")
	c.Flags().Int64Var(&o.blobSize, "blob-size", 100_000_000, "`BYTES` of a blob")
	c.Flags().IntVar(&o.runs, "runs", 1, "repeat each measurement `N` times, and give the medians")
	c.Flags().StringSliceVar(&o.only, "only", nil, "the `NAMES` of measurements, or their beginnings, with commas between them")
	c.Flags().BoolVar(&o.msgpack, "msgpack", false, "speak msgpack, no matter which protocol the server announces")
	c.Flags().BoolVar(&o.yes, "yes", false, "write into a storage that is not empty")
	c.Flags().BoolVar(&o.json, "json", false, "print the results as JSON")
	o.tls.addFlags(c)
	return c
}

// benchReport is the document that --json prints.
type benchReport struct {
	Server   string         `json:"server"`
	Encoding string         `json:"encoding"`
	Objects  int            `json:"objects"`
	Runs     int            `json:"runs"`
	Results  []bench.Result `json:"results"`
}

func (o *benchCommand) run(ctx context.Context, e *env) error {
	if o.objects < 200 {
		return usage("--objects %d: want at least 200", o.objects)
	}
	if o.sustain < 0 || o.sustain > 0 && o.sustain < 2*time.Second || o.duration < time.Second || o.runs < 1 || o.blobSize < 1 {
		return usage("--duration and --sustain want seconds, --runs and --blob-size at least 1")
	}
	for _, name := range o.only {
		if !known(name) {
			return usage("--only %s: want one of %s", name, strings.Join(bench.Names(), ", "))
		}
		if strings.HasPrefix("sustain", name) && o.sustain == 0 {
			return usage("--only sustain: the duration is missing; give --sustain DURATION")
		}
	}
	z, err := zeoclient.ParseURL(o.server)
	if err != nil {
		return usage("%w", err)
	}
	if o.msgpack {
		z.Encoding = 'M'
	}
	if err := o.tls.apply(&z); err != nil {
		return err
	}
	encoding, err := o.mayWrite(ctx, e, z)
	if err != nil {
		return err
	}
	results, err := bench.Run(ctx, bench.Options{
		Server: z, Clock: e.Now, Objects: o.objects, Duration: o.duration, Sustain: o.sustain, BlobBytes: o.blobSize, Runs: o.runs, Only: o.only,
		Begun: func(name string, run int) {
			if e.Terminal || e.Verbose {
				e.note("run %d of %d: %s\n", run+1, o.runs, name)
			}
		},
	})
	if err != nil {
		return err
	}
	if o.json {
		return e.printJSON(benchReport{Server: o.server, Encoding: encoding, Objects: o.objects, Runs: o.runs, Results: results})
	}
	return printBench(e, results)
}

// known reports whether a name of --only selects anything.
func known(name string) bool {
	for _, n := range bench.Names() {
		if name != "" && strings.HasPrefix(n, name) {
			return true
		}
	}
	return false
}

// mayWrite makes sure that the storage is empty, or that it may be written to all
// the same, and returns the encoding that is spoken.
func (o *benchCommand) mayWrite(ctx context.Context, e *env, z zeoclient.Options) (string, error) {
	c, err := dialServer(ctx, z)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if c.LastTID() != 0 {
		if !o.yes {
			return "", hint(errors.New("there are transactions in this storage, and bench would add many"),
				"let it measure an empty storage; or say --yes: existing objects will not be touched, and a pack takes the new ones away again")
		}
		e.note("warning: adding %s and many transactions to the storage at %s\n", human.Number(int64(o.objects), "object"), o.server)
	}
	return string(rune(c.Encoding())), nil
}

// printBench prints a table.
func printBench(e *env, results []bench.Result) error {
	var t table
	for i, head := range []string{"measured", "rate", "bytes", "p50", "p90", "p99", "p99.9", "max", "longest stall", "slowest second"} {
		t.columns = append(t.columns, &tableColumn{head: head, right: i > 0})
	}
	stalls := false
	for _, r := range results {
		stall, slowest := "", ""
		if r.Stall > 0 {
			stall, slowest, stalls = latency(time.Duration(r.Stall*float64(time.Second))), human.Count(int64(r.Slowest)), true
		}
		l := r.Latency
		for i, text := range []string{
			r.Name, human.Rate(int64(r.Rate*1000), 1000*time.Second), human.ByteRate(int64(r.Bytes), time.Second),
			latency(l.P50), latency(l.P90), latency(l.P99), latency(l.P999), latency(l.Max), stall, slowest,
		} {
			t.columns[i].add(text)
		}
	}
	if !stalls {
		t.columns = t.columns[:len(t.columns)-2]
	}
	t.giving = []*tableColumn{t.columns[4], t.columns[6], t.columns[2]}
	if err := t.print(e); err != nil {
		return err
	}
	w := e.printer()
	for _, r := range results {
		if r.Conflicts > 0 {
			w.printf("%s: %s, though nobody should write to these objects\n", r.Name, human.Number(int64(r.Conflicts), "conflict"))
		}
	}
	return w.err
}

// latency prints a duration with three digits.
func latency(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%.3gµs", float64(d)/1e3)
	case d < time.Second:
		return fmt.Sprintf("%.3gms", float64(d)/1e6)
	}
	return fmt.Sprintf("%.3gs", d.Seconds())
}
