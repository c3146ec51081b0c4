// A force of OpenMM that is a saved potential of openmm-nequip, and what its kernels on the platforms share.
//
// The force holds the potential as text: the same that a PythonForce of this package has in XML. What the kernels need of it
// (their source, weights, which particles are which nodes) Python says once for each Context, in a Description; in a step of
// a GPU's platform Python has no part. On platforms without kernels of ours, Python evaluates.
#pragma once
#include <map>
#include <string>
#include <vector>
#include "OpenMM.h"
#include "openmm/Kernel.h"
#include "openmm/KernelImpl.h"
#include "openmm/internal/ContextImpl.h"

namespace NequIP {

// What Python says of a potential, by name.
struct Description {
  std::map<std::string, std::string> texts;
  std::map<std::string, std::vector<double>> numbers;
  std::map<std::string, std::vector<int>> integers;

  const std::string& text(const std::string& name) const { return get(texts, name); }
  const std::vector<double>& number(const std::string& name) const { return get(numbers, name); }
  const std::vector<int>& integer(const std::string& name) const { return get(integers, name); }

 private:
  template <class T> static const T& get(const std::map<std::string, T>& from, const std::string& name) {
    auto found = from.find(name);
    if (found == from.end()) throw OpenMM::OpenMMException("NequIP: the description has no " + name);
    return found->second;
  }
};

// What Python does for us; each answers 0, or another number after nequip_fail with the reason.
//
// describe: of each model of a potential a Description, for a Context whose platform and properties are lines "name=value" of
// `place`. It may make Contexts of its own, to compare the kernels' answers with the model's.
struct Host {
  int (*describe)(const char* potential, const char* place, std::vector<Description>* models);
  int (*open)(const char* potential, int* number);
  int (*evaluate)(int number, int n_particles, const double* positions, const double* box, double* energy, double* forces);
};

class Force : public OpenMM::Force {
 public:
  // `parameter` is the global parameter that switches the model off at exactly 0; empty without one.
  Force(const std::string& potential, bool periodic, const std::string& parameter)
      : potential(potential), parameter(parameter), periodic(periodic) {}
  bool usesPeriodicBoundaryConditions() const { return periodic; }
  // What the kernels of this force in a Context know of its models beside the energy, see CalcForceKernel::tell.
  std::vector<double> tell(OpenMM::Context& context) const;
  const std::string potential, parameter;
  const bool periodic;

 protected:
  OpenMM::ForceImpl* createImpl() const;
};

// What a platform does for a force.
class CalcForceKernel : public OpenMM::KernelImpl {
 public:
  static std::string Name() { return "CalcNequIPForce"; }
  CalcForceKernel(std::string name, const OpenMM::Platform& platform) : KernelImpl(name, platform) {}
  virtual void initialize(OpenMM::ContextImpl& context, const Force& force) = 0;
  // The energy that is not in the platform's buffers, kJ/mol.
  virtual double execute(OpenMM::ContextImpl& context, bool with_forces, bool with_energy) = 0;
  // At the positions that the Context has: ten numbers of each node of each model, see `tell` in kernels/gpu/forces.cc; energies
  // with the shifts of types, in the model's units.
  virtual std::vector<double> tell(OpenMM::ContextImpl& context) = 0;
};

// Grows when lists of neighbours that were made before are to be dropped.
long list_generation();

// Python's answer, or an exception with its reason.
void describe(const Force& force, const std::string& place, std::vector<Description>& models);
int open(const Force& force);
void evaluate(int number, int n_particles, const double* positions, const double* box, double* energy, double* forces);

}  // namespace NequIP
