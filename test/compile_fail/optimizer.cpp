// SPDX-License-Identifier: Apache-2.0
// Each CASE_ must be refused, and with the sentence on its line. With no CASE_ set the file compiles.
#include <gradpress/communicate/self.hpp>
#include <gradpress/feedback/error_feedback.hpp>
#include <gradpress/optimizer/cser.hpp>
#include <gradpress/optimizer/def.hpp>
#include <gradpress/optimizer/dgc.hpp>
#include <gradpress/optimizer/driver.hpp>
#include <gradpress/optimizer/marina.hpp>
#include <gradpress/select/top_k.hpp>

using namespace gradpress;

struct no_rate {
  using family = family::optimizer;
  static constexpr std::string_view name = "o";
};
struct no_worker : no_rate {
  double learning_rate = 0;
};
struct no_take : no_worker {
  template <class Exec>
  struct worker {};
};
struct no_point : no_worker {
  template <class Exec>
  struct worker {
    float* take(no_point const&, turn<Exec> const&, view<Exec>) { return nullptr; }
    void commit(no_point const&, turn<Exec> const&, in<Exec>) {}
  };
};

void compiles(reducer<serial>& r) {
  auto const forgets = compress_with(top_k{.density = 0.1});
  auto const remembers = compress_with(top_k{.density = 0.1}, error_feedback{});
#if defined(CASE_NO_RATE)  // expect: Optimizer: needs a knob 'double learning_rate'
  static_assert(explain_optimizer<no_rate>());
#elif defined(CASE_NO_WORKER)    // expect: Optimizer: needs 'template <class Exec> class worker'
  static_assert(explain_optimizer<no_worker>());
#elif defined(CASE_NO_TAKE)      // expect: Optimizer: its worker needs 'float* take(m, turn, gradient)'
  static_assert(explain_optimizer<no_take>());
#elif defined(CASE_NO_POINT)     // expect: Optimizer: its worker needs 'void point(m, turn)'
  static_assert(explain_optimizer<no_point>());
#elif defined(CASE_FORGETS)      // expect: train_with: this optimizer is built on what was not delivered
  train_with(r, def{}, forgets);
#elif defined(CASE_REMEMBERS)    // expect: train_with: this optimizer keeps the estimate of the gradient itself
  train_with(r, marina{}, remembers);
#elif defined(CASE_NO_MOMENTUM)  // expect: train_with: this optimizer leaves the momentum to the compressor's memory
  train_with(r, dgc{}, remembers);
#elif defined(CASE_ONE_OF_TWO)   // expect: train_with: give the optimizer as many compressors as it uses
  train_with(r, cser{}, remembers);
#endif
  static_cast<void>(train_with(r, def{}, remembers));
  static_cast<void>(train_with(r, marina{}, forgets));
  static_cast<void>(train_with(r, def{}, uncompressed));
}
