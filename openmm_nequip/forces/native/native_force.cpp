// The force, its XML, its kernel on platforms of the CPU, and what Python calls.
#include "native_force.hpp"
#include <atomic>
#include "openmm/KernelFactory.h"
#include "openmm/internal/ForceImpl.h"
#include "openmm/reference/ReferencePlatform.h"
#include "openmm/serialization/SerializationNode.h"
#include "openmm/serialization/SerializationProxy.h"

using namespace OpenMM;
using std::string;
using std::vector;

namespace NequIP {

namespace {

Host host = {nullptr, nullptr, nullptr};
thread_local string failure;
std::atomic<long> generation{0};

void answered(int code) {
  if (code) throw OpenMMException(failure.empty() ? "NequIP: no reason was given" : failure);
}

const Host& known_host() {
  if (!host.describe) throw OpenMMException("NequIP: this force runs in a process that has imported openmm_nequip");
  return host;
}

}  // namespace

long list_generation() { return generation; }

void describe(const Force& force, const string& place, vector<Description>& models) {
  failure.clear();
  answered(known_host().describe(force.potential.c_str(), place.c_str(), &models));
}

int open(const Force& force) {
  int number = 0;
  failure.clear();
  answered(known_host().open(force.potential.c_str(), &number));
  return number;
}

void evaluate(int number, int n_particles, const double* positions, const double* box, double* energy, double* forces) {
  failure.clear();
  answered(known_host().evaluate(number, n_particles, positions, box, energy, forces));
}

namespace {

class Impl : public ForceImpl {
 public:
  explicit Impl(const Force& force) : owner(force) { forceGroup = force.getForceGroup(); }
  void initialize(ContextImpl& context) {
    kernel = context.getPlatform().createKernel(CalcForceKernel::Name(), context);
    kernel.getAs<CalcForceKernel>().initialize(context, owner);
  }
  CalcForceKernel& kernel_of_context() { return kernel.getAs<CalcForceKernel>(); }
  const OpenMM::Force& getOwner() const { return owner; }
  void updateContextState(ContextImpl&, bool&) {}
  double calcForcesAndEnergy(ContextImpl& context, bool with_forces, bool with_energy, int groups) {
    if (!(groups & (1 << forceGroup))) return 0.0;
    if (!owner.parameter.empty()) {
      const double value = context.getParameter(owner.parameter);
      if (!(value >= 0 && value <= 1))
        throw OpenMMException("the parameter " + owner.parameter + " is " + std::to_string(value) +
                              "; expected a number from 0 (the force field) to 1 (the model)");
      if (value == 0) return 0.0;
    }
    return kernel.getAs<CalcForceKernel>().execute(context, with_forces, with_energy);
  }
  std::map<string, double> getDefaultParameters() {
    if (owner.parameter.empty()) return {};
    return {{owner.parameter, 1.0}};
  }
  vector<string> getKernelNames() { return {CalcForceKernel::Name()}; }

 private:
  const Force& owner;
  Kernel kernel;
};

class Proxy : public SerializationProxy {
 public:
  Proxy() : SerializationProxy("NequIPForce") {}
  void serialize(const void* object, SerializationNode& node) const {
    const Force& force = *(const Force*)object;
    node.setIntProperty("version", 1);
    node.setIntProperty("forceGroup", force.getForceGroup());
    node.setStringProperty("name", force.getName());
    node.setStringProperty("function", force.potential);
    node.setBoolProperty("usesPeriodic", force.periodic);
    node.setStringProperty("parameter", force.parameter);
  }
  void* deserialize(const SerializationNode& node) const {
    const int version = node.getIntProperty("version");
    if (version != 1)
      throw OpenMMException("this NequIPForce was saved in version " + std::to_string(version) +
                            " of its form, and this release reads 1; install a newer release of openmm-nequip");
    Force* force = new Force(node.getStringProperty("function"), node.getBoolProperty("usesPeriodic"),
                             node.getStringProperty("parameter", ""));
    force->setForceGroup(node.getIntProperty("forceGroup", 0));
    force->setName(node.getStringProperty("name", force->getName()));
    return force;
  }
};

// Where there is no GPU, Python evaluates the potential.
class HostKernel : public CalcForceKernel {
 public:
  using CalcForceKernel::CalcForceKernel;
  void initialize(ContextImpl& context, const Force& f) {
    force = &f;
    number = open(f);
    n_particles = context.getSystem().getNumParticles();
    positions.resize(3 * n_particles);
    forces.resize(3 * n_particles);
  }
  double execute(ContextImpl& context, bool with_forces, bool) {
    const auto& data = *(ReferencePlatform::PlatformData*)context.getPlatformData();
    for (int i = 0; i < n_particles; i++)
      for (int d = 0; d < 3; d++) positions[3 * i + d] = (*data.positions)[i][d];
    double box[9];
    for (int a = 0; a < 3; a++)
      for (int b = 0; b < 3; b++) box[3 * a + b] = data.periodicBoxVectors[a][b];
    double energy = 0;
    evaluate(number, n_particles, positions.data(), force->periodic ? box : nullptr, &energy, forces.data());
    if (with_forces)
      for (int i = 0; i < n_particles; i++)
        for (int d = 0; d < 3; d++) (*data.forces)[i][d] += forces[3 * i + d];
    return energy;
  }
  vector<double> tell(ContextImpl&) { throw OpenMMException("on this platform Python evaluates the model"); }

 private:
  const Force* force = nullptr;
  int number = 0, n_particles = 0;
  vector<double> positions, forces;
};

class HostFactory : public KernelFactory {
  KernelImpl* createKernelImpl(string name, const Platform& platform, ContextImpl&) const {
    return new HostKernel(name, platform);
  }
};

}  // namespace

ForceImpl* Force::createImpl() const { return new Impl(*this); }

vector<double> Force::tell(Context& context) const {
  Impl& impl = dynamic_cast<Impl&>(getImplInContext(context));
  return impl.kernel_of_context().tell(getContextImpl(context));
}

}  // namespace NequIP

extern "C" {

// Why it cannot be used with the OpenMM that is loaded; empty if it can. Registers the force and its kernels of the CPU.
const char* nequip_start(const NequIP::Host* calls) {
  static string problem;
  static bool started = false;
  NequIP::host = *calls;
  if (started) return "";
  try {
    SerializationProxy::registerProxy(typeid(NequIP::Force), new NequIP::Proxy());
    for (int i = 0; i < Platform::getNumPlatforms(); i++) {
      Platform& platform = Platform::getPlatform(i);
      if (platform.getName() == "Reference" || platform.getName() == "CPU")
        platform.registerKernelFactory(NequIP::CalcForceKernel::Name(), new NequIP::HostFactory());
    }
    started = true;
  } catch (const std::exception& error) {
    problem = error.what();
  }
  return problem.c_str();
}

// Ten numbers of each node of each model of a force in a Context, in `told`, which has room for `count`; 1 where that cannot be,
// and then nequip_failure() says why.
int nequip_tell(OpenMM::Force* force, OpenMM::Context* context, double* told, long count) {
  try {
    const auto* own = dynamic_cast<const NequIP::Force*>(force);
    if (!own) throw OpenMMException("it is no force of ours");
    const vector<double> found = own->tell(*context);
    if ((long)found.size() != count)
      throw OpenMMException("it has " + std::to_string(found.size()) + " numbers, and " + std::to_string(count) + " were asked for");
    std::copy(found.begin(), found.end(), told);
    return 0;
  } catch (const std::exception& error) {
    NequIP::failure = error.what();
    return 1;
  }
}
const char* nequip_failure() { return NequIP::failure.c_str(); }

void nequip_forget_lists() { NequIP::generation++; }

// What the functions of the Host answer with.
void nequip_fail(const char* reason) { NequIP::failure = reason; }
// One more model; what is said is of the last one.
void nequip_say_model(vector<NequIP::Description>* to) { to->emplace_back(); }
void nequip_say_text(vector<NequIP::Description>* to, const char* name, const char* text) { to->back().texts[name] = text; }
void nequip_say_numbers(vector<NequIP::Description>* to, const char* name, const double* from, long count) {
  to->back().numbers[name].assign(from, from + count);
}
void nequip_say_integers(vector<NequIP::Description>* to, const char* name, const int* from, long count) {
  to->back().integers[name].assign(from, from + count);
}
}
