# What type checkers see of this package, whose names are imported when they are first used.

from tinytown.protocol.function_library import (
    MAX_LIBRARY_LOADS as MAX_LIBRARY_LOADS,
    TOWN_LIBRARY as TOWN_LIBRARY,
    FunctionLibrary as FunctionLibrary,
)
from tinytown.protocol.keys import Keys as Keys
from tinytown.protocol.operation import (
    Argument as Argument,
    ErrorReply as ErrorReply,
    Operation as Operation,
    Reply as Reply,
    function_call as function_call,
    load_library as load_library,
)
from tinytown.protocol.operations import TownOperations as TownOperations
from tinytown.protocol.task_operations import task_fields as task_fields
from tinytown.protocol.town_operations import SCHEMA as SCHEMA
