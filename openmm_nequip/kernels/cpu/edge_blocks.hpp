// Edges of some atoms, in blocks and pieces: a block is up to LANES edges of one atom, a piece up to PIECE blocks.
//
// A convolution (model.inc) does the same for all edges of a piece before it goes on to other paths or channels.
//
// | symbol      | meaning                                                                                             |
// | `EdgeBlock` | its atom, its first edge, and how many                                                              |
// | `Pieces`    | goes through the edges of atoms start .. stop - 1; after next() has `count` blocks                  |
// | PIECE       | blocks of a piece at most (model.inc)                                                               |
#pragma once
#include "edges.hpp"

namespace {

struct EdgeBlock {
  int atom, at, n;
};

class Pieces {
 public:
  EdgeBlock block[PIECE];
  int count = 0;

  Pieces(const Edges& edges, int start, int stop) : edges(edges), atom(start), stop(stop) {}

  // False when there are no more edges.
  bool next() {
    for (count = 0; atom < stop && count < PIECE;) {
      const int left = edges.count[atom] - done;
      if (left <= 0) {
        atom++;
        done = 0;
        continue;
      }
      block[count++] = {atom, edges.first[atom] + done, left < LANES ? left : LANES};
      done += LANES;
    }
    return count > 0;
  }

 private:
  const Edges& edges;
  int atom, stop, done = 0;
};

}  // namespace
