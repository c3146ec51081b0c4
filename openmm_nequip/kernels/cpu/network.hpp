// What an interaction layer is, for the code that runs them one after another; model.inc has the table of the model's layers.
//
// Forward, for every atom i with neighbours j (z: features; all of linear_maps.hpp, gate.hpp and the convolution of model.inc):
//     x_j = W_first z_j                               what the convolution reads
//     A_i = sum over edges ij of R(r_ij) (x_j * Y(u_ij))          convolution: radial weight times tensor product
//     y_i = W_second A_i + W_connection[type i] z_i
//     z_i' = gate(y_i)
// In the first layer x_j and W_connection z_i depend on the type alone and stand among the weights.
// Backward, with gradients of the total energy named g(...):
//     g(y_i) = gate^T g(z_i')        g(A_i) = W_second^T g(y_i)
//     g(x_j) = sum over edges ij of R(r_ij) (g(A_i) * Y(u_ij))^T         and what it gives to r_ij and u_ij of the edges
//     g(z_j) = W_first^T g(x_j) + W_connection^T g(y_j)
//
// | symbol                 | meaning                                                                                    |
// | `convolution`          | A of atoms start .. stop - 1, from their edges as centres; rows of A are interleaved       |
// | `convolution_backward` | g(x) of atoms, and gradients of the edges by which they are neighbours                     |
// | `memory`               | room for the edges of a piece: ROOM_BYTES (model.inc)                                      |
// | `places`               | where each vector of an interleaved row stands in one that maps read                       |
// | `..._width`            | numbers in a row of z and x, of A, of y, and of z'                                         |
// | `first`, `second`, `connection`, `gate` | maps and gate blocks, with their numbers                                  |
#pragma once
#include "edges.hpp"
#include "gate.hpp"
#include "linear_maps.hpp"

namespace {

struct Layer {
  void (*convolution)(const Edges& edges, const real* weights, const real* features, int start, int stop, real* sums,
                      void* memory);
  void (*convolution_backward)(Edges& edges, const real* weights, const real* sums_gradient, const real* features,
                               const int* types, int start, int stop, real* features_gradient, void* memory);
  const int* places;
  int features_width, sums_width, gate_width, outputs_width;
  const LinearMap* first;
  int n_first;
  const LinearMap* second;
  int n_second;
  const LinearMap* connection;
  int n_connection;
  const GateBlock* gate;
  int n_gate;
};

}  // namespace
