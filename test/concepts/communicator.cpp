// SPDX-License-Identifier: Apache-2.0
#include <gradpress/concepts/communicator.hpp>

#include <gradpress/communicate/self.hpp>

#include <doctest/doctest.h>

using namespace gradpress;

namespace {
using bytes_in = std::span<std::byte const>;
using bytes_out = std::span<std::byte>;

struct no_rank {
  int size();
  void all_gather(bytes_in, bytes_out);
};
struct rank_is_text {
  char const* rank();
  int size();
  void all_gather(bytes_in, bytes_out);
};
struct no_size {
  int rank();
  void all_gather(bytes_in, bytes_out);
};
struct no_gather {
  int rank();
  int size();
};
struct gathers_floats : no_gather {
  void all_gather(std::span<float const>, std::span<float>);
};
struct streams : archetypes::communicator {
  static constexpr bool stream_ordered = true;
};
struct says_it_blocks : archetypes::communicator {
  static constexpr bool stream_ordered = false;
};
/// Offers with other signatures are no offers.
struct nearly : archetypes::communicator {
  void all_gather_v(bytes_in, std::span<int const>, bytes_out);
  void all_reduce_sum(float*, std::size_t);
  void send_recv(int to, bytes_in);
  void all_to_all(bytes_out);
  int offers(operation) const;
};
struct floats_only : archetypes::communicator {
  void all_reduce_sum(std::span<float>);
};
}  // namespace

static_assert(communicator<archetypes::communicator> && communicator<says_it_blocks> && communicator<nearly>);
static_assert(communicator<archetypes::communicator&>);
static_assert(!communicator<int> && !communicator<no_rank> && !communicator<rank_is_text> && !communicator<no_size>);
static_assert(!communicator<no_gather> && !communicator<gathers_floats>);
static_assert(!communicator<streams> && !communicator<streams&>);

static_assert(!concepts::has_all_gather_v<nearly> && !concepts::has_all_reduce_sum<nearly, float>);
static_assert(!concepts::has_send_recv<nearly> && !concepts::has_all_to_all<nearly> && !concepts::has_offers<nearly>);
static_assert(!concepts::has_abandon<nearly> && !concepts::has_all_reduce_max<nearly>);
static_assert(concepts::has_all_reduce_sum<floats_only, float> && !concepts::has_all_reduce_sum<floats_only, double>);
static_assert(!concepts::has_all_reduce_sum<floats_only, bfloat16>);
static_assert(concepts::has_all_gather_v<self_communicator> &&
              concepts::has_all_reduce_sum<self_communicator, float16>);
static_assert(concepts::has_send_recv<self_communicator> && concepts::has_all_to_all<self_communicator>);

TEST_CASE("concepts::communicator is proven by the compiler") {
  CHECK(explain_communicator<archetypes::communicator>());
}
