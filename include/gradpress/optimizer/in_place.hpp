// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What the workers share whose model is the user's memory itself and who keep one momentum: `sgd`, `dgc`, `signum`.

#include <gradpress/kernel/descent.hpp>
#include <gradpress/optimizer/twin.hpp>

#include <cstring>

namespace gradpress {

/// - State   the momentum and its spare, and the model before the last step: 12 bytes a parameter.
template <class Exec>
class in_place {
 protected:
  twin<Exec> momentum_;
  buffer<Exec> before_;
  view<Exec> x_;

 public:
  in_place(Exec const& exec, view<Exec> x)
      : momentum_{kernel::zeros(exec, "gradpress::momentum", x.extent(0)),
                  unwritten<Exec>("gradpress::momentum", x.extent(0))},
        before_(unwritten<Exec>("gradpress::before", x.extent(0))),
        x_(x) {}
  template <class Method>
  void point(Method const&, turn<Exec> const&) {}
  template <class Method>
  float* take(Method const&, turn<Exec> const&, view<Exec> g) {
    return g.data();
  }
  void undo() {
    momentum_.turn();
    if (x_.extent(0) > 0) std::memcpy(x_.data(), before_.data(), 4 * x_.extent(0));
  }
  template <class V>
  void visit(V&& v) {
    v("model", x_.data(), x_.extent(0));
    v("momentum", momentum_.now.data(), x_.extent(0));
  }
  [[nodiscard]] float const* shared() const { return x_.data(); }
};

}  // namespace gradpress
