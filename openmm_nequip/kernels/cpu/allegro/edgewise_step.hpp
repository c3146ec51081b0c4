// A step of an Allegro model: every atom with its own edges, from distances to forces, in one go.
//
// For an atom i, its edges e with harmonics Y[e, m] and two-body rows (two_body.hpp), channels c, layers k = 0 .. N_LAYERS - 1:
//     A_k[m] = norm * sum over e of w_k[e, l(m)] Y[e, m]           w_0 is in the row, later ones come from network k - 1
//     T_{-1}[e, m] = w[e, l(m)] Y[e, m]
//     T_k[e, j] = sum over paths p, m, n of C_k[p, m, n, j] W_k[p] T_{k-1}[e, m] A_k[n]
//     s_k[e] = T_k[e, 0]           z_k[e] += s_k[e] W              network k adds to z of later networks
//     E_i = shift + scale * sum over e of readout(z[e])
//
// The tensors T_k of an edge are never made: T_k is linear in T_{-1}, with factors that belong to the atom alone,
//     s_k[e] = sum over m of w[e, l(m)] Y[e, m] v_k[m]
// where v_k is the result of product k, the scalar, taken back through A_k, then A_{k-1}, ..., A_0. So an edge costs a few
// operations for each harmonic, and the tensor products are made once for each atom (products_code.py).
//
// An atom reads nothing of its neighbours but their types and positions, so threads need not wait for each other.
//
// | symbol          | meaning                                                                                           |
// | tile_memory.hpp | where all of this lies                                                                            |
// | edge_share.hpp  | what a thread does                                                                                |
// | edgewise_tile.hpp | the edges of a few atoms, forward and backward                                                  |
#pragma once
#include "tile_memory.hpp"
#include "edge_share.hpp"
#include "edgewise_tile.hpp"
