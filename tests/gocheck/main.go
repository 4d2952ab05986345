// Gocheck reads an export of the ledger with the packages that Go's own checksum database is built
// on, so that nothing that writes or verifies the ledger elsewhere in this project is believed.
//
//	gocheck export -vkey KEY [-old CHECKPOINT [-tree-proof FILE]] [-samples N] DIR
//	gocheck proof -vkey KEY -entry FILE PROOF
//
// export opens the checkpoint, reads every hash through the tiles (which tlog authenticates against
// the root), compares each entry of each bundle with its hash, makes and checks inclusion proofs of
// sampled leaves, and, with -old, that the log continues the one of an earlier checkpoint. With
// -tree-proof it also checks a consistency proof that was made elsewhere: base64, a hash per line.
// proof checks one C2SP tlog-proof file over an entry's bytes.
//
// Exit status: 0 all of it holds, 1 something doesn't, 2 wrong usage.
package main

import (
	"encoding/base64"
	"flag"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	height = 8
	width  = 1 << height
)

func main() {
	if len(os.Args) < 2 || (os.Args[1] != "export" && os.Args[1] != "proof") {
		fmt.Fprintln(os.Stderr, "usage: gocheck export|proof -vkey KEY ... (see main.go)")
		os.Exit(2)
	}
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	vkey := flags.String("vkey", "", "the log's public key")
	old := flags.String("old", "", "an earlier checkpoint's file")
	treeProof := flags.String("tree-proof", "", "a consistency proof's file")
	entry := flags.String("entry", "", "the file of the entry's bytes")
	samples := flags.Int("samples", 100, "how many leaves get an inclusion proof")
	flags.Parse(os.Args[2:])
	if flags.NArg() != 1 {
		flags.Usage()
		os.Exit(2)
	}
	var err error
	if os.Args[1] == "export" {
		err = checkExport(flags.Arg(0), *vkey, *old, *treeProof, *samples)
	} else {
		err = checkProof(flags.Arg(0), *vkey, *entry)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "NOT VERIFIED:", err)
		os.Exit(1)
	}
}

// openCheckpoint returns the tree that a signed checkpoint vouches for.
func openCheckpoint(message []byte, vkey string) (tlog.Tree, error) {
	var none tlog.Tree
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return none, err
	}
	opened, err := note.Open(message, note.VerifierList(verifier))
	if err != nil {
		return none, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 || lines[len(lines)-1] != "" {
		return none, fmt.Errorf("the note is no checkpoint")
	}
	if lines[0] != verifier.Name() {
		return none, fmt.Errorf("the checkpoint is of %q, not of %q", lines[0], verifier.Name())
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || strconv.FormatInt(size, 10) != lines[1] {
		return none, fmt.Errorf("%q is no size", lines[1])
	}
	root, err := tlog.ParseHash(lines[2])
	if err != nil {
		return none, err
	}
	return tlog.Tree{N: size, Hash: root}, nil
}

// tiles reads the tiles of a folder: the C2SP paths are tlog's without the height.
type tiles string

func (dir tiles) Height() int { return height }

func (dir tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var found [][]byte
	for _, tile := range wanted {
		name := "tile/" + strings.TrimPrefix(tile.Path(), fmt.Sprintf("tile/%d/", height))
		data, err := os.ReadFile(filepath.Join(string(dir), filepath.FromSlash(name)))
		if err != nil {
			return nil, err
		}
		if len(data) != tile.W*tlog.HashSize {
			return nil, fmt.Errorf("%s has %d bytes", name, len(data))
		}
		found = append(found, data)
	}
	return found, nil
}

func (dir tiles) SaveTiles([]tlog.Tile, [][]byte) {}

// readBundle returns the entries of one bundle.
func readBundle(dir string, index int64, count int) ([][]byte, error) {
	tile := tlog.Tile{H: height, L: -1, N: index, W: count}
	name := "tile/entries/" + strings.TrimPrefix(tile.Path(), fmt.Sprintf("tile/%d/data/", height))
	data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
	if err != nil {
		return nil, err
	}
	var entries [][]byte
	for len(data) > 0 {
		if len(data) < 2 {
			return nil, fmt.Errorf("%s is cut off", name)
		}
		size := int(data[0])<<8 | int(data[1])
		if len(data) < 2+size {
			return nil, fmt.Errorf("%s is cut off", name)
		}
		entries = append(entries, data[2:2+size])
		data = data[2+size:]
	}
	if len(entries) != count {
		return nil, fmt.Errorf("%s has %d entries, not %d", name, len(entries), count)
	}
	return entries, nil
}

func checkExport(dir, vkey, old, treeProof string, samples int) error {
	message, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	if err != nil {
		return err
	}
	tree, err := openCheckpoint(message, vkey)
	if err != nil {
		return err
	}
	reader := tlog.TileHashReader(tree, tiles(dir))
	if tree.N > 0 {
		root, err := tlog.TreeHash(tree.N, reader)
		if err != nil {
			return err
		}
		if root != tree.Hash {
			return fmt.Errorf("the tiles' root is %v, the checkpoint's %v", root, tree.Hash)
		}
	}
	if err := checkEntries(dir, tree, reader); err != nil {
		return err
	}
	if err := checkTiles(dir, tree); err != nil {
		return err
	}
	proven, err := checkSamples(tree, reader, samples)
	if err != nil {
		return err
	}
	fmt.Printf("%d entries, %d inclusion proofs", tree.N, proven)
	if old != "" {
		before, err := checkOld(tree, reader, vkey, old, treeProof)
		if err != nil {
			return err
		}
		fmt.Printf(", continues %d entries", before)
	}
	fmt.Println(": VERIFIED")
	return nil
}

// checkEntries compares every entry with the hash that the tree has for it.
func checkEntries(dir string, tree tlog.Tree, reader tlog.HashReader) error {
	for start := int64(0); start < tree.N; start += width {
		count := width
		if tree.N-start < width {
			count = int(tree.N - start)
		}
		entries, err := readBundle(dir, start/width, count)
		if err != nil {
			return err
		}
		indexes := make([]int64, count)
		for at := range indexes {
			indexes[at] = tlog.StoredHashIndex(0, start+int64(at))
		}
		hashes, err := reader.ReadHashes(indexes)
		if err != nil {
			return err
		}
		for at, entry := range entries {
			if tlog.RecordHash(entry) != hashes[at] {
				return fmt.Errorf("leaf %d: the entry does not have the tree's hash", start+int64(at))
			}
		}
	}
	return nil
}

// checkTiles recomputes every tile of the upper levels out of the level below.
func checkTiles(dir string, tree tlog.Tree) error {
	for level := 1; tree.N>>(height*level) > 0; level++ {
		hashes := tree.N >> (height * level)
		for start := int64(0); start < hashes; start += width {
			count := width
			if hashes-start < width {
				count = int(hashes - start)
			}
			tile := tlog.Tile{H: height, L: level, N: start / width, W: count}
			data, err := tiles(dir).ReadTiles([]tlog.Tile{tile})
			if err != nil {
				return err
			}
			for at := 0; at < count; at++ {
				hash, err := rootBelow(dir, level-1, start+int64(at))
				if err != nil {
					return err
				}
				if string(hash[:]) != string(data[0][at*tlog.HashSize:(at+1)*tlog.HashSize]) {
					return fmt.Errorf("%s: hash %d is not that of the tile below", tile.Path(), at)
				}
			}
		}
	}
	return nil
}

// rootBelow returns the root over one full tile.
func rootBelow(dir string, level int, n int64) (tlog.Hash, error) {
	var none tlog.Hash
	tile := tlog.Tile{H: height, L: level, N: n, W: width}
	data, err := tiles(dir).ReadTiles([]tlog.Tile{tile})
	if err != nil {
		return none, err
	}
	row := make([]tlog.Hash, width)
	for at := range row {
		copy(row[at][:], data[0][at*tlog.HashSize:])
	}
	for len(row) > 1 {
		for at := 0; at < len(row)/2; at++ {
			row[at] = tlog.NodeHash(row[2*at], row[2*at+1])
		}
		row = row[:len(row)/2]
	}
	return row[0], nil
}

func checkSamples(tree tlog.Tree, reader tlog.HashReader, samples int) (int, error) {
	chance := rand.New(rand.NewSource(tree.N))
	proven := 0
	for ; proven < samples && tree.N > 0; proven++ {
		leaf := chance.Int63n(tree.N)
		if proven < 2 {
			leaf = int64(proven) * (tree.N - 1) // the first and the last
		}
		proof, err := tlog.ProveRecord(tree.N, leaf, reader)
		if err != nil {
			return 0, err
		}
		hashes, err := reader.ReadHashes([]int64{tlog.StoredHashIndex(0, leaf)})
		if err != nil {
			return 0, err
		}
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, leaf, hashes[0]); err != nil {
			return 0, fmt.Errorf("leaf %d: %w", leaf, err)
		}
	}
	return proven, nil
}

func checkOld(
	tree tlog.Tree, reader tlog.HashReader, vkey, old, treeProof string,
) (int64, error) {
	message, err := os.ReadFile(old)
	if err != nil {
		return 0, err
	}
	before, err := openCheckpoint(message, vkey)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", old, err)
	}
	if before.N > tree.N {
		return 0, fmt.Errorf("the end is cut off: there were %d, now there are %d", before.N, tree.N)
	}
	if before.N == 0 {
		return 0, nil
	}
	proof, err := tlog.ProveTree(tree.N, before.N, reader)
	if err != nil {
		return 0, err
	}
	if err := tlog.CheckTree(proof, tree.N, tree.Hash, before.N, before.Hash); err != nil {
		return 0, err
	}
	if treeProof == "" {
		return before.N, nil
	}
	data, err := os.ReadFile(treeProof)
	if err != nil {
		return 0, err
	}
	given, err := parseHashes(strings.Split(strings.TrimSuffix(string(data), "\n"), "\n"))
	if err != nil {
		return 0, err
	}
	err = tlog.CheckTree(tlog.TreeProof(given), tree.N, tree.Hash, before.N, before.Hash)
	return before.N, err
}

func parseHashes(lines []string) ([]tlog.Hash, error) {
	var found []tlog.Hash
	for _, line := range lines {
		if line == "" {
			continue
		}
		data, err := base64.StdEncoding.Strict().DecodeString(line)
		if err != nil || len(data) != tlog.HashSize {
			return nil, fmt.Errorf("%q is no hash", line)
		}
		var hash tlog.Hash
		copy(hash[:], data)
		found = append(found, hash)
	}
	return found, nil
}

func checkProof(path, vkey, entryPath string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	entry, err := os.ReadFile(entryPath)
	if err != nil {
		return err
	}
	head, message, ok := strings.Cut(string(data), "\n\n")
	lines := strings.Split(head, "\n")
	if !ok || len(lines) < 2 || lines[0] != "c2sp.org/tlog-proof@v1" {
		return fmt.Errorf("%s is no proof", path)
	}
	lines = lines[1:]
	if strings.HasPrefix(lines[0], "extra ") {
		lines = lines[1:]
	}
	if len(lines) == 0 || !strings.HasPrefix(lines[0], "index ") {
		return fmt.Errorf("%s has no index", path)
	}
	leaf, err := strconv.ParseInt(strings.TrimPrefix(lines[0], "index "), 10, 64)
	if err != nil {
		return err
	}
	tree, err := openCheckpoint([]byte(message), vkey)
	if err != nil {
		return err
	}
	if leaf < 0 || leaf >= tree.N {
		return fmt.Errorf("leaf %d is not in a log of %d", leaf, tree.N)
	}
	proof, err := parseHashes(lines[1:])
	if err != nil {
		return err
	}
	hash := tlog.RecordHash(entry)
	if err := tlog.CheckRecord(tlog.RecordProof(proof), tree.N, tree.Hash, leaf, hash); err != nil {
		return err
	}
	fmt.Printf("leaf %d of %d: VERIFIED\n", leaf, tree.N)
	return nil
}
