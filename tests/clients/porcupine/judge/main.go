// judge: Porcupine's verdict on histories of sim/check (sim/check/README.md tells the format).
//
// usage: judge FILE...
// Prints a line a file: "FILE right", "FILE wrong" or "FILE undecided". It judges the REGISTER family only, reads of the
// past and weak reads apart, each key by itself. Exit: 0 every file was read, 2 one was not.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"time"

	"github.com/anishathalye/porcupine"
)

const patience = 20 * time.Second // for each file

type step struct {
	Verb    string          `json:"verb"`
	Key     json.RawMessage `json:"key"`   // a string, or $binary: equal bytes have equal text
	Value   json.RawMessage `json:"value"` // likewise
	Require string          `json:"require"`
	Want    uint64          `json:"want"`
	Version uint64          `json:"version"`
	Found   bool            `json:"found"`
	Unmet   bool            `json:"unmet"`
}

type operation struct {
	Type    string `json:"type"`
	Client  int    `json:"client"`
	Family  string `json:"family"`
	Outcome string `json:"outcome"`
	At      uint64 `json:"at"`
	Weak    bool   `json:"weak"`
	Call    int64  `json:"call"`
	Return  int64  `json:"return"`
	Steps   []step `json:"steps"`
}

// What one key is asked, and what came of it.
type input struct {
	verb, value, require string
	want                 uint64
}

type output struct {
	unknown, refused, found bool
	value                   string
	version                 uint64
}

// What a key holds. After a write that nobody was told the version of, it is only known to be above `version`.
type state struct {
	present, exact bool
	value          string
	version        uint64
}

func (s state) pin(version uint64) (state, bool) {
	if version == 0 {
		return s, true
	}
	if s.exact {
		return s, s.version == version
	}
	if version <= s.version {
		return s, false
	}
	s.version, s.exact = version, true
	return s, true
}

func (s state) meets(in input) (state, bool) {
	switch {
	case in.require == "absent" || (in.require == "version" && in.want == 0):
		return s, !s.present
	case in.require == "present":
		return s, s.present
	case in.require == "version":
		if !s.present {
			return s, false
		}
		return s.pin(in.want)
	}
	return s, true
}

func (s state) refuses(in input, out output) (state, bool) {
	s, good := s.pin(out.version)
	if !good {
		return s, false
	}
	switch {
	case in.require == "absent" || (in.require == "version" && in.want == 0):
		return s, s.present
	case in.require == "present":
		return s, !s.present
	case in.require == "version":
		return s, !s.present || !s.exact || s.version != in.want
	}
	return s, true
}

func (s state) write(in input, out output) (state, bool) {
	met, good := s.meets(in)
	if out.unknown && !good {
		return s, true // it did nothing, and nobody was told
	}
	if !good || (out.version != 0 && out.version <= met.version) {
		return s, false
	}
	if out.version != 0 {
		met.version = out.version
	}
	met.exact = out.version != 0
	met.present, met.value = in.verb == "put", in.value
	if !met.present {
		met.value = ""
	}
	return met, true
}

func next(before, in, out any) (bool, any) {
	s, i, o := before.(state), in.(input), out.(output)
	var good bool
	switch {
	case o.refused:
		s, good = s.refuses(i, o)
	case i.verb == "get":
		good = s.present == o.found && (!o.found || s.value == o.value)
		if good {
			s, good = s.pin(o.version)
		}
	case i.verb == "check":
		s, good = s.meets(i)
	default:
		s, good = s.write(i, o)
	}
	return good, s
}

var model = porcupine.Model{
	Init: func() any { return state{exact: true} },
	Step: next,
}

// Sorts the steps of an operation to their keys.
func take(op operation, keys map[string][]porcupine.Operation) {
	if op.Type != "op" || op.Family != "register" || op.At != 0 || op.Weak || op.Outcome == "failed" {
		return
	}
	for _, s := range op.Steps {
		in := input{s.Verb, string(s.Value), s.Require, s.Want}
		out := output{found: s.Found, value: string(s.Value), version: s.Version}
		if in.verb == "get" {
			in.value = ""
		}
		end := op.Return
		switch op.Outcome {
		case "unknown":
			if s.Verb == "get" || s.Verb == "check" {
				continue
			}
			out = output{unknown: true}
			end = math.MaxInt64
		case "unmet":
			if !s.Unmet && len(op.Steps) > 1 {
				continue
			}
			out.refused = true
		}
		key := string(s.Key)
		keys[key] = append(keys[key], porcupine.Operation{ClientId: op.Client, Input: in, Call: op.Call, Output: out, Return: end})
	}
}

func read(name string) (map[string][]porcupine.Operation, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	keys := map[string][]porcupine.Operation{}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 64<<20)
	for n := 1; lines.Scan(); n++ {
		var op operation
		if err := json.Unmarshal(lines.Bytes(), &op); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		take(op, keys)
	}
	return keys, lines.Err()
}

func judge(keys map[string][]porcupine.Operation) string {
	verdict := "right"
	until := time.Now().Add(patience)
	for _, ops := range keys {
		switch porcupine.CheckOperationsTimeout(model, ops, time.Until(until)+time.Millisecond) {
		case porcupine.Illegal:
			return "wrong"
		case porcupine.Unknown:
			verdict = "undecided"
		}
	}
	return verdict
}

func main() {
	code := 0
	for _, name := range os.Args[1:] {
		keys, err := read(name)
		if err != nil {
			fmt.Fprintf(os.Stderr, "judge: %s: %v\n", name, err)
			code = 2
			continue
		}
		fmt.Println(name, judge(keys))
	}
	os.Exit(code)
}
