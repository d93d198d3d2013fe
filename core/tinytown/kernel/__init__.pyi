# What type checkers see of this package, whose names are imported when they are first used.

from tinytown.kernel.boxes import agent_directory as agent_directory, log_path as log_path
from tinytown.kernel.environment import round_environment as round_environment
from tinytown.kernel.kernel import (
    Kernel as Kernel,
    open_kernel as open_kernel,
    open_town as open_town,
    run_kernel as run_kernel,
)
from tinytown.kernel.lock import (
    kernel_lock as kernel_lock,
    kernel_with_state as kernel_with_state,
    running_kernel as running_kernel,
)
from tinytown.kernel.prompt import build_prompt as build_prompt
from tinytown.kernel.recovery import is_alive as is_alive, machine_id as machine_id, run_directory as run_directory
