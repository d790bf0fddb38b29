// How a node that was added to a running cluster learns who it is.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "env/net.h"
#include "node/identity.h"

namespace flux::node {

// Asks the nodes one after the other, for about ten seconds in all; `done` is called once, on the loop. kNotFound: no
// node of that name has been added. kUnavailable: none of them answered. Keep what is returned until
// then.
[[nodiscard]] std::shared_ptr<void> ask_to_join(env::Loop& loop, env::Network& network,
                                                const std::vector<env::Address>& nodes, const std::string& name,
                                                absl::AnyInvocable<void(Result<JoinTicket>)> done);

}  // namespace flux::node
