// SPDX-License-Identifier: Apache-2.0
// Each CASE_ must be refused, and with the sentence on its line. With no CASE_ set the file compiles.
#include <gradpress/concepts/communicator.hpp>

using namespace gradpress;

struct no_rank {};
struct no_size : no_rank {
  int rank();
};
struct no_gather : no_size {
  int size();
};
struct streams : archetypes::communicator {
  static constexpr bool stream_ordered = true;
};

#if defined(CASE_NO_RANK)  // expect: Communicator: needs 'int rank()'
static_assert(explain_communicator<no_rank>());
#elif defined(CASE_NO_SIZE)    // expect: Communicator: needs 'int size()'
static_assert(explain_communicator<no_size>());
#elif defined(CASE_NO_GATHER)  // expect: Communicator: needs 'void all_gather(
static_assert(explain_communicator<no_gather>());
#elif defined(CASE_STREAMS)    // expect: Communicator: 'stream_ordered' is true, but calls must block
static_assert(explain_communicator<streams>());
#else
static_assert(explain_communicator<archetypes::communicator>());
static_assert(!communicator<no_gather> && !communicator<streams>);
#endif
