// SPDX-License-Identifier: Apache-2.0
#include <gradpress/compressor/memory_rate.hpp>

#include <gradpress/feedback/ef21.hpp>
#include <gradpress/feedback/error_feedback.hpp>

#include "../support/lone_rank.hpp"

using namespace gradpress;
using namespace gradpress::test;

namespace {

/// A memory of one number, 8, in units of the model unless said otherwise.
struct remembered {
  lone_rank me;
  error_feedback f{.units = residual_units::model};
  state_of<error_feedback, host> memory{f, me.ctx, shape{1, 1}};
  detail::memory_rate<host, error_feedback> rate{me.ctx.exec};

  remembered() { memory.residual(0) = 8; }
  bool settle() { return rate.settle(f, me.ctx, memory); }
  [[nodiscard]] float holds() const { return memory.residual(0); }
};

}  // namespace

TEST_CASE("without a rate a memory in units of the model cannot begin") {
  remembered m;
  CHECK_THROWS_AS(static_cast<void>(m.rate.changes(m.f)), configuration_error);
  m.f.units = error_feedback{}.units;
  CHECK_FALSE(m.rate.changes(m.f));
  CHECK(m.rate.text(m.f).empty());
}

TEST_CASE("the first rate changes nothing, another one keeps the step of the model") {
  remembered m;
  m.rate.want(0.5f);
  CHECK(m.rate.text(m.f) == " at the learning rate 0.5");
  CHECK(m.rate.changes(m.f));
  CHECK(m.settle());
  CHECK(m.holds() == 8);
  CHECK_FALSE(m.rate.changes(m.f));
  m.rate.want(0.25f);
  CHECK(m.rate.changes(m.f));
  CHECK(m.settle());
  CHECK(m.holds() == 16);
  CHECK_FALSE(m.rate.changes(m.f));
}

TEST_CASE("a memory that would overflow stays in its old units") {
  remembered m;
  m.rate.want(1);
  CHECK(m.settle());
  m.memory.residual(0) = 1e38f;
  m.rate.want(1e-3f);
  CHECK_FALSE(m.settle());
  CHECK(m.holds() == 1e38f);
  m.rate.want(1);
  CHECK_FALSE(m.rate.changes(m.f));
}

TEST_CASE("a rollback brings back the rate that the older memory is for") {
  remembered m;
  m.rate.want(1);
  CHECK(m.settle());
  m.rate.commit();
  m.rate.want(2);
  CHECK(m.settle());
  CHECK(m.holds() == 4);
  m.rate.undo();  // and with it, elsewhere, the memory
  m.memory.residual(0) = 8;
  CHECK(m.settle());
  CHECK(m.holds() == 4);
}

TEST_CASE("a memory in other units lets the rate pass, and takes it as its own from then on") {
  remembered m;
  m.f.units = error_feedback{}.units;
  m.rate.want(0.5f);
  CHECK_FALSE(m.rate.changes(m.f));
  CHECK(m.holds() == 8);
  m.f.units = residual_units::model;
  CHECK_FALSE(m.rate.changes(m.f));
}

TEST_CASE("of a memory that has no such units there is nothing to say") {
  lone_rank me;
  ef21 const f;
  detail::memory_rate<host, ef21> rate{me.ctx.exec};
  rate.want(0.5f);
  CHECK_FALSE(rate.in_model_units(f));
  CHECK_FALSE(rate.changes(f));
  CHECK(rate.text(f).empty());
}
