// A piece of work that is run once. May hold what cannot be copied.
#pragma once

#include <absl/functional/any_invocable.h>

namespace flux::env {

using Task = absl::AnyInvocable<void()>;

}  // namespace flux::env
