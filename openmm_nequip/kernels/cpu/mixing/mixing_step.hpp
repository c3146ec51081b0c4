// A step of an Allegro model of nequip <= 0.6, whose layers mix the channels of the tensors of an edge.
//
// For an atom i, its edges e with harmonics Y[e, m] and two-body rows (two_body.hpp), channels c, layers k = 0 .. N_LAYERS - 1:
//     T_0[e, i, m] = w[e, i] Y[e, m]                      block i of N_FIRST, of order FIRST_ORDERS[i] = l(m)
//     A_k[m] = norm_k * sum over e of w_k[e, l(m)] Y[e, m]
//     R_k[e] = product k of T_k[e] and A_k, or with OWN_EDGE 0 of T_k[e] and A_k without the part of e (edge_products_code.py)
//     T_{k+1}[e], s_k[e] from R_k[e]                      see edge_layers.hpp
//     z_k[e] += s_k[e] W                                  network k adds to w_{k+1}, z_{k+1} and later ones; with an ENVELOPE
//                                                         times u[e], with LAYER_ENVELOPES times u_{k+1}[e]
//     E_i = shift + scale * sum over e of readout(z[e])
//
// Where channels are mixed the result of a layer is no longer a product of the edge's harmonics with vectors of the atom, as in
// edgewise_step.hpp, so the tensors of an edge are made; those of a tile stay in the cache. Raw results are made for CHUNK edges
// at a time. The row of an edge is as there: w_0, and of all later w_k and z_k the part that follows of length and types.
//
// | symbol          | meaning                                                                                           |
// | mixing_memory.hpp | where all of this lies                                                                          |
// | edge_share.hpp  | what a thread does                                                                                |
// | mixing_tile.hpp | the edges of a few atoms, forward and backward                                                    |
#pragma once
#include "mixing_memory.hpp"
#include "edge_share.hpp"
#include "mixing_tile.hpp"
