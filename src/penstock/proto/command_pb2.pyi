from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Stream(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STREAM_UNSPECIFIED: _ClassVar[Stream]
    STREAM_STDOUT: _ClassVar[Stream]
    STREAM_STDERR: _ClassVar[Stream]

class JobState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_STATE_UNSPECIFIED: _ClassVar[JobState]
    JOB_STATE_STARTING: _ClassVar[JobState]
    JOB_STATE_RUNNING: _ClassVar[JobState]
    JOB_STATE_STOPPING: _ClassVar[JobState]
    JOB_STATE_ENDING: _ClassVar[JobState]
    JOB_STATE_FINISHED: _ClassVar[JobState]
STREAM_UNSPECIFIED: Stream
STREAM_STDOUT: Stream
STREAM_STDERR: Stream
JOB_STATE_UNSPECIFIED: JobState
JOB_STATE_STARTING: JobState
JOB_STATE_RUNNING: JobState
JOB_STATE_STOPPING: JobState
JOB_STATE_ENDING: JobState
JOB_STATE_FINISHED: JobState

class Argument(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: str
    def __init__(self, name: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class StartRequest(_message.Message):
    __slots__ = ("command", "arguments", "argv", "request_id", "env", "timeout_s", "validate_only", "stdin", "name", "labels")
    class EnvEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    ARGV_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ENV_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    STDIN_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    command: str
    arguments: _containers.RepeatedCompositeFieldContainer[Argument]
    argv: _containers.RepeatedScalarFieldContainer[str]
    request_id: str
    env: _containers.ScalarMap[str, str]
    timeout_s: float
    validate_only: bool
    stdin: bool
    name: str
    labels: _containers.ScalarMap[str, str]
    def __init__(self, command: _Optional[str] = ..., arguments: _Optional[_Iterable[_Union[Argument, _Mapping]]] = ..., argv: _Optional[_Iterable[str]] = ..., request_id: _Optional[str] = ..., env: _Optional[_Mapping[str, str]] = ..., timeout_s: _Optional[float] = ..., validate_only: _Optional[bool] = ..., stdin: _Optional[bool] = ..., name: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class StartResponse(_message.Message):
    __slots__ = ("pid", "error", "job", "replayed")
    PID_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    pid: str
    error: str
    job: Job
    replayed: bool
    def __init__(self, pid: _Optional[str] = ..., error: _Optional[str] = ..., job: _Optional[_Union[Job, _Mapping]] = ..., replayed: _Optional[bool] = ...) -> None: ...

class StopRequest(_message.Message):
    __slots__ = ("pid", "grace_s", "reason", "no_wait", "signal")
    PID_FIELD_NUMBER: _ClassVar[int]
    GRACE_S_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    NO_WAIT_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    pid: str
    grace_s: float
    reason: str
    no_wait: bool
    signal: str
    def __init__(self, pid: _Optional[str] = ..., grace_s: _Optional[float] = ..., reason: _Optional[str] = ..., no_wait: _Optional[bool] = ..., signal: _Optional[str] = ...) -> None: ...

class StopResponse(_message.Message):
    __slots__ = ("result", "error", "job", "already_finished", "escalated", "processes_killed", "took_s")
    RESULT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    ALREADY_FINISHED_FIELD_NUMBER: _ClassVar[int]
    ESCALATED_FIELD_NUMBER: _ClassVar[int]
    PROCESSES_KILLED_FIELD_NUMBER: _ClassVar[int]
    TOOK_S_FIELD_NUMBER: _ClassVar[int]
    result: str
    error: str
    job: Job
    already_finished: bool
    escalated: bool
    processes_killed: int
    took_s: float
    def __init__(self, result: _Optional[str] = ..., error: _Optional[str] = ..., job: _Optional[_Union[Job, _Mapping]] = ..., already_finished: _Optional[bool] = ..., escalated: _Optional[bool] = ..., processes_killed: _Optional[int] = ..., took_s: _Optional[float] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ("pid",)
    PID_FIELD_NUMBER: _ClassVar[int]
    pid: str
    def __init__(self, pid: _Optional[str] = ...) -> None: ...

class StatusResponse(_message.Message):
    __slots__ = ("status", "error", "job", "usage")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    status: str
    error: str
    job: Job
    usage: ResourceUsage
    def __init__(self, status: _Optional[str] = ..., error: _Optional[str] = ..., job: _Optional[_Union[Job, _Mapping]] = ..., usage: _Optional[_Union[ResourceUsage, _Mapping]] = ...) -> None: ...

class StreamOutputRequest(_message.Message):
    __slots__ = ("pid", "offset", "no_follow", "raw", "tail_lines", "since_ns", "streams", "heartbeat_s")
    PID_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    NO_FOLLOW_FIELD_NUMBER: _ClassVar[int]
    RAW_FIELD_NUMBER: _ClassVar[int]
    TAIL_LINES_FIELD_NUMBER: _ClassVar[int]
    SINCE_NS_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_S_FIELD_NUMBER: _ClassVar[int]
    pid: str
    offset: int
    no_follow: bool
    raw: bool
    tail_lines: int
    since_ns: int
    streams: _containers.RepeatedScalarFieldContainer[Stream]
    heartbeat_s: float
    def __init__(self, pid: _Optional[str] = ..., offset: _Optional[int] = ..., no_follow: _Optional[bool] = ..., raw: _Optional[bool] = ..., tail_lines: _Optional[int] = ..., since_ns: _Optional[int] = ..., streams: _Optional[_Iterable[_Union[Stream, str]]] = ..., heartbeat_s: _Optional[float] = ...) -> None: ...

class StreamOutputResponse(_message.Message):
    __slots__ = ("output", "error", "data", "stream", "offset", "time_ns", "gap", "finished", "job", "heartbeat", "next_offset")
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    TIME_NS_FIELD_NUMBER: _ClassVar[int]
    GAP_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    NEXT_OFFSET_FIELD_NUMBER: _ClassVar[int]
    output: str
    error: str
    data: bytes
    stream: Stream
    offset: int
    time_ns: int
    gap: Gap
    finished: EndRecord
    job: Job
    heartbeat: bool
    next_offset: int
    def __init__(self, output: _Optional[str] = ..., error: _Optional[str] = ..., data: _Optional[bytes] = ..., stream: _Optional[_Union[Stream, str]] = ..., offset: _Optional[int] = ..., time_ns: _Optional[int] = ..., gap: _Optional[_Union[Gap, _Mapping]] = ..., finished: _Optional[_Union[EndRecord, _Mapping]] = ..., job: _Optional[_Union[Job, _Mapping]] = ..., heartbeat: _Optional[bool] = ..., next_offset: _Optional[int] = ...) -> None: ...

class Gap(_message.Message):
    __slots__ = ("from_offset", "to_offset", "reason")
    FROM_OFFSET_FIELD_NUMBER: _ClassVar[int]
    TO_OFFSET_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    from_offset: int
    to_offset: int
    reason: str
    def __init__(self, from_offset: _Optional[int] = ..., to_offset: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class ListRequest(_message.Message):
    __slots__ = ("all", "page_size", "page_token", "states", "command", "name", "labels", "label_keys", "since_ns", "prefix")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ALL_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    LABEL_KEYS_FIELD_NUMBER: _ClassVar[int]
    SINCE_NS_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    all: bool
    page_size: int
    page_token: str
    states: _containers.RepeatedScalarFieldContainer[JobState]
    command: str
    name: str
    labels: _containers.ScalarMap[str, str]
    label_keys: _containers.RepeatedScalarFieldContainer[str]
    since_ns: int
    prefix: str
    def __init__(self, all: _Optional[bool] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., states: _Optional[_Iterable[_Union[JobState, str]]] = ..., command: _Optional[str] = ..., name: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., label_keys: _Optional[_Iterable[str]] = ..., since_ns: _Optional[int] = ..., prefix: _Optional[str] = ...) -> None: ...

class ListResponse(_message.Message):
    __slots__ = ("jobs", "next_page_token")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[Job]
    next_page_token: str
    def __init__(self, jobs: _Optional[_Iterable[_Union[Job, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WaitRequest(_message.Message):
    __slots__ = ("pid",)
    PID_FIELD_NUMBER: _ClassVar[int]
    pid: str
    def __init__(self, pid: _Optional[str] = ...) -> None: ...

class WaitResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class SignalRequest(_message.Message):
    __slots__ = ("pid", "signal", "tree")
    PID_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    TREE_FIELD_NUMBER: _ClassVar[int]
    pid: str
    signal: str
    tree: bool
    def __init__(self, pid: _Optional[str] = ..., signal: _Optional[str] = ..., tree: _Optional[bool] = ...) -> None: ...

class SignalResponse(_message.Message):
    __slots__ = ("processes",)
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    processes: int
    def __init__(self, processes: _Optional[int] = ...) -> None: ...

class PauseRequest(_message.Message):
    __slots__ = ("pid",)
    PID_FIELD_NUMBER: _ClassVar[int]
    pid: str
    def __init__(self, pid: _Optional[str] = ...) -> None: ...

class PauseResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class ResumeRequest(_message.Message):
    __slots__ = ("pid",)
    PID_FIELD_NUMBER: _ClassVar[int]
    pid: str
    def __init__(self, pid: _Optional[str] = ...) -> None: ...

class ResumeResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class SendInputRequest(_message.Message):
    __slots__ = ("pid", "offset", "data", "eof", "sender", "goes_on")
    PID_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    EOF_FIELD_NUMBER: _ClassVar[int]
    SENDER_FIELD_NUMBER: _ClassVar[int]
    GOES_ON_FIELD_NUMBER: _ClassVar[int]
    pid: str
    offset: int
    data: bytes
    eof: bool
    sender: str
    goes_on: bool
    def __init__(self, pid: _Optional[str] = ..., offset: _Optional[int] = ..., data: _Optional[bytes] = ..., eof: _Optional[bool] = ..., sender: _Optional[str] = ..., goes_on: _Optional[bool] = ...) -> None: ...

class SendInputResponse(_message.Message):
    __slots__ = ("accepted", "eof")
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    EOF_FIELD_NUMBER: _ClassVar[int]
    accepted: int
    eof: bool
    def __init__(self, accepted: _Optional[int] = ..., eof: _Optional[bool] = ...) -> None: ...

class RemoveRequest(_message.Message):
    __slots__ = ("pid",)
    PID_FIELD_NUMBER: _ClassVar[int]
    pid: str
    def __init__(self, pid: _Optional[str] = ...) -> None: ...

class RemoveResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("after", "heartbeat_s", "states", "command", "handles", "name", "labels", "label_keys", "prefix")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    AFTER_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_S_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    HANDLES_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    LABEL_KEYS_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    after: int
    heartbeat_s: float
    states: _containers.RepeatedScalarFieldContainer[JobState]
    command: str
    handles: _containers.RepeatedScalarFieldContainer[str]
    name: str
    labels: _containers.ScalarMap[str, str]
    label_keys: _containers.RepeatedScalarFieldContainer[str]
    prefix: str
    def __init__(self, after: _Optional[int] = ..., heartbeat_s: _Optional[float] = ..., states: _Optional[_Iterable[_Union[JobState, str]]] = ..., command: _Optional[str] = ..., handles: _Optional[_Iterable[str]] = ..., name: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., label_keys: _Optional[_Iterable[str]] = ..., prefix: _Optional[str] = ...) -> None: ...

class WatchResponse(_message.Message):
    __slots__ = ("sequence", "state", "time_ns", "job", "handle", "removed", "resync", "heartbeat", "paused")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    TIME_NS_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    RESYNC_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    state: JobState
    time_ns: int
    job: Job
    handle: str
    removed: bool
    resync: bool
    heartbeat: bool
    paused: bool
    def __init__(self, sequence: _Optional[int] = ..., state: _Optional[_Union[JobState, str]] = ..., time_ns: _Optional[int] = ..., job: _Optional[_Union[Job, _Mapping]] = ..., handle: _Optional[str] = ..., removed: _Optional[bool] = ..., resync: _Optional[bool] = ..., heartbeat: _Optional[bool] = ..., paused: _Optional[bool] = ...) -> None: ...

class ServerInfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ServerInfoResponse(_message.Message):
    __slots__ = ("version", "mode", "cgroups", "limits", "features", "warnings", "client_id", "client_limits", "lag")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    CGROUPS_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    CLIENT_LIMITS_FIELD_NUMBER: _ClassVar[int]
    LAG_FIELD_NUMBER: _ClassVar[int]
    version: str
    mode: str
    cgroups: str
    limits: _containers.RepeatedCompositeFieldContainer[Enforcement]
    features: _containers.RepeatedScalarFieldContainer[str]
    warnings: _containers.RepeatedScalarFieldContainer[str]
    client_id: str
    client_limits: Limits
    lag: EventLoopLag
    def __init__(self, version: _Optional[str] = ..., mode: _Optional[str] = ..., cgroups: _Optional[str] = ..., limits: _Optional[_Iterable[_Union[Enforcement, _Mapping]]] = ..., features: _Optional[_Iterable[str]] = ..., warnings: _Optional[_Iterable[str]] = ..., client_id: _Optional[str] = ..., client_limits: _Optional[_Union[Limits, _Mapping]] = ..., lag: _Optional[_Union[EventLoopLag, _Mapping]] = ...) -> None: ...

class EventLoopLag(_message.Message):
    __slots__ = ("worst_s", "recent_worst_s", "worst_cpu_s", "slow_turns", "turns", "busy_s")
    WORST_S_FIELD_NUMBER: _ClassVar[int]
    RECENT_WORST_S_FIELD_NUMBER: _ClassVar[int]
    WORST_CPU_S_FIELD_NUMBER: _ClassVar[int]
    SLOW_TURNS_FIELD_NUMBER: _ClassVar[int]
    TURNS_FIELD_NUMBER: _ClassVar[int]
    BUSY_S_FIELD_NUMBER: _ClassVar[int]
    worst_s: float
    recent_worst_s: float
    worst_cpu_s: float
    slow_turns: int
    turns: int
    busy_s: float
    def __init__(self, worst_s: _Optional[float] = ..., recent_worst_s: _Optional[float] = ..., worst_cpu_s: _Optional[float] = ..., slow_turns: _Optional[int] = ..., turns: _Optional[int] = ..., busy_s: _Optional[float] = ...) -> None: ...

class WhoAmIRequest(_message.Message):
    __slots__ = ("command", "no_commands", "page_size", "page_token")
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    NO_COMMANDS_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    command: str
    no_commands: bool
    page_size: int
    page_token: str
    def __init__(self, command: _Optional[str] = ..., no_commands: _Optional[bool] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class WhoAmIResponse(_message.Message):
    __slots__ = ("client_id", "certificate", "verbs", "quotas", "client_limits", "commands", "next_page_token", "policy_revision", "command_count")
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    VERBS_FIELD_NUMBER: _ClassVar[int]
    QUOTAS_FIELD_NUMBER: _ClassVar[int]
    CLIENT_LIMITS_FIELD_NUMBER: _ClassVar[int]
    COMMANDS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    POLICY_REVISION_FIELD_NUMBER: _ClassVar[int]
    COMMAND_COUNT_FIELD_NUMBER: _ClassVar[int]
    client_id: str
    certificate: Certificate
    verbs: _containers.RepeatedScalarFieldContainer[str]
    quotas: _containers.RepeatedCompositeFieldContainer[Quota]
    client_limits: Limits
    commands: _containers.RepeatedCompositeFieldContainer[GrantedCommand]
    next_page_token: str
    policy_revision: str
    command_count: int
    def __init__(self, client_id: _Optional[str] = ..., certificate: _Optional[_Union[Certificate, _Mapping]] = ..., verbs: _Optional[_Iterable[str]] = ..., quotas: _Optional[_Iterable[_Union[Quota, _Mapping]]] = ..., client_limits: _Optional[_Union[Limits, _Mapping]] = ..., commands: _Optional[_Iterable[_Union[GrantedCommand, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., policy_revision: _Optional[str] = ..., command_count: _Optional[int] = ...) -> None: ...

class Certificate(_message.Message):
    __slots__ = ("serial", "fingerprint", "not_after_ns")
    SERIAL_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    NOT_AFTER_NS_FIELD_NUMBER: _ClassVar[int]
    serial: str
    fingerprint: str
    not_after_ns: int
    def __init__(self, serial: _Optional[str] = ..., fingerprint: _Optional[str] = ..., not_after_ns: _Optional[int] = ...) -> None: ...

class Quota(_message.Message):
    __slots__ = ("name", "limit", "used", "free_after_s")
    NAME_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    FREE_AFTER_S_FIELD_NUMBER: _ClassVar[int]
    name: str
    limit: int
    used: int
    free_after_s: float
    def __init__(self, name: _Optional[str] = ..., limit: _Optional[int] = ..., used: _Optional[int] = ..., free_after_s: _Optional[float] = ...) -> None: ...

class GrantedCommand(_message.Message):
    __slots__ = ("name", "program", "usage", "slots", "env_keys", "stdin", "timeout_s", "grace_s", "class_name", "limits", "signals", "any_signal", "description")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    ENV_KEYS_FIELD_NUMBER: _ClassVar[int]
    STDIN_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    GRACE_S_FIELD_NUMBER: _ClassVar[int]
    CLASS_NAME_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    SIGNALS_FIELD_NUMBER: _ClassVar[int]
    ANY_SIGNAL_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    name: str
    program: str
    usage: _containers.RepeatedScalarFieldContainer[str]
    slots: _containers.RepeatedCompositeFieldContainer[ArgumentSlot]
    env_keys: _containers.RepeatedScalarFieldContainer[str]
    stdin: bool
    timeout_s: float
    grace_s: float
    class_name: str
    limits: Limits
    signals: _containers.RepeatedScalarFieldContainer[str]
    any_signal: bool
    description: str
    def __init__(self, name: _Optional[str] = ..., program: _Optional[str] = ..., usage: _Optional[_Iterable[str]] = ..., slots: _Optional[_Iterable[_Union[ArgumentSlot, _Mapping]]] = ..., env_keys: _Optional[_Iterable[str]] = ..., stdin: _Optional[bool] = ..., timeout_s: _Optional[float] = ..., grace_s: _Optional[float] = ..., class_name: _Optional[str] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., signals: _Optional[_Iterable[str]] = ..., any_signal: _Optional[bool] = ..., description: _Optional[str] = ...) -> None: ...

class ArgumentSlot(_message.Message):
    __slots__ = ("kind", "text", "choices", "more_choices", "min", "max", "slots")
    KIND_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    CHOICES_FIELD_NUMBER: _ClassVar[int]
    MORE_CHOICES_FIELD_NUMBER: _ClassVar[int]
    MIN_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    kind: str
    text: str
    choices: _containers.RepeatedScalarFieldContainer[str]
    more_choices: int
    min: int
    max: int
    slots: _containers.RepeatedCompositeFieldContainer[ArgumentSlot]
    def __init__(self, kind: _Optional[str] = ..., text: _Optional[str] = ..., choices: _Optional[_Iterable[str]] = ..., more_choices: _Optional[int] = ..., min: _Optional[int] = ..., max: _Optional[int] = ..., slots: _Optional[_Iterable[_Union[ArgumentSlot, _Mapping]]] = ...) -> None: ...

class Job(_message.Message):
    __slots__ = ("handle", "os_pid", "owner", "command", "argv", "state", "started_ns", "ended_ns", "class_name", "limits", "enforcement", "output_first_offset", "output_next_offset", "policy_revision", "end", "client_limits", "client_enforcement", "paused", "input", "timeout_s", "name", "labels", "given")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    OS_PID_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    ARGV_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STARTED_NS_FIELD_NUMBER: _ClassVar[int]
    ENDED_NS_FIELD_NUMBER: _ClassVar[int]
    CLASS_NAME_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    ENFORCEMENT_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIRST_OFFSET_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_NEXT_OFFSET_FIELD_NUMBER: _ClassVar[int]
    POLICY_REVISION_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    CLIENT_LIMITS_FIELD_NUMBER: _ClassVar[int]
    CLIENT_ENFORCEMENT_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    GIVEN_FIELD_NUMBER: _ClassVar[int]
    handle: str
    os_pid: int
    owner: str
    command: str
    argv: _containers.RepeatedScalarFieldContainer[str]
    state: JobState
    started_ns: int
    ended_ns: int
    class_name: str
    limits: Limits
    enforcement: _containers.RepeatedCompositeFieldContainer[Enforcement]
    output_first_offset: int
    output_next_offset: int
    policy_revision: str
    end: EndRecord
    client_limits: Limits
    client_enforcement: _containers.RepeatedCompositeFieldContainer[Enforcement]
    paused: bool
    input: JobInput
    timeout_s: float
    name: str
    labels: _containers.ScalarMap[str, str]
    given: GivenArguments
    def __init__(self, handle: _Optional[str] = ..., os_pid: _Optional[int] = ..., owner: _Optional[str] = ..., command: _Optional[str] = ..., argv: _Optional[_Iterable[str]] = ..., state: _Optional[_Union[JobState, str]] = ..., started_ns: _Optional[int] = ..., ended_ns: _Optional[int] = ..., class_name: _Optional[str] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., enforcement: _Optional[_Iterable[_Union[Enforcement, _Mapping]]] = ..., output_first_offset: _Optional[int] = ..., output_next_offset: _Optional[int] = ..., policy_revision: _Optional[str] = ..., end: _Optional[_Union[EndRecord, _Mapping]] = ..., client_limits: _Optional[_Union[Limits, _Mapping]] = ..., client_enforcement: _Optional[_Iterable[_Union[Enforcement, _Mapping]]] = ..., paused: _Optional[bool] = ..., input: _Optional[_Union[JobInput, _Mapping]] = ..., timeout_s: _Optional[float] = ..., name: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., given: _Optional[_Union[GivenArguments, _Mapping]] = ...) -> None: ...

class GivenArguments(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, values: _Optional[_Iterable[str]] = ...) -> None: ...

class JobInput(_message.Message):
    __slots__ = ("accepted", "closed")
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    CLOSED_FIELD_NUMBER: _ClassVar[int]
    accepted: int
    closed: bool
    def __init__(self, accepted: _Optional[int] = ..., closed: _Optional[bool] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("cpu_cores", "memory_bytes", "disk_read_bytes_per_s", "disk_write_bytes_per_s", "processes", "output_bytes_per_s", "output_bytes", "output_when_full", "storage_bytes", "files")
    CPU_CORES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    DISK_READ_BYTES_PER_S_FIELD_NUMBER: _ClassVar[int]
    DISK_WRITE_BYTES_PER_S_FIELD_NUMBER: _ClassVar[int]
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_BYTES_PER_S_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_BYTES_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_WHEN_FULL_FIELD_NUMBER: _ClassVar[int]
    STORAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    cpu_cores: float
    memory_bytes: int
    disk_read_bytes_per_s: int
    disk_write_bytes_per_s: int
    processes: int
    output_bytes_per_s: int
    output_bytes: int
    output_when_full: str
    storage_bytes: int
    files: int
    def __init__(self, cpu_cores: _Optional[float] = ..., memory_bytes: _Optional[int] = ..., disk_read_bytes_per_s: _Optional[int] = ..., disk_write_bytes_per_s: _Optional[int] = ..., processes: _Optional[int] = ..., output_bytes_per_s: _Optional[int] = ..., output_bytes: _Optional[int] = ..., output_when_full: _Optional[str] = ..., storage_bytes: _Optional[int] = ..., files: _Optional[int] = ...) -> None: ...

class Enforcement(_message.Message):
    __slots__ = ("limit", "state", "actual", "detail")
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ACTUAL_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    limit: str
    state: str
    actual: str
    detail: str
    def __init__(self, limit: _Optional[str] = ..., state: _Optional[str] = ..., actual: _Optional[str] = ..., detail: _Optional[str] = ...) -> None: ...

class ResourceUsage(_message.Message):
    __slots__ = ("cpu_percent", "cpu_total_s", "throttled_s", "memory_bytes", "cache_bytes", "memory_peak_bytes", "read_bytes", "write_bytes", "read_bytes_per_s", "write_bytes_per_s", "operations_per_s", "processes", "oom_kills", "sample_ns", "periods", "throttled_periods", "read_operations", "write_operations", "cpu_pressure", "memory_pressure", "io_pressure")
    CPU_PERCENT_FIELD_NUMBER: _ClassVar[int]
    CPU_TOTAL_S_FIELD_NUMBER: _ClassVar[int]
    THROTTLED_S_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    CACHE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_PEAK_BYTES_FIELD_NUMBER: _ClassVar[int]
    READ_BYTES_FIELD_NUMBER: _ClassVar[int]
    WRITE_BYTES_FIELD_NUMBER: _ClassVar[int]
    READ_BYTES_PER_S_FIELD_NUMBER: _ClassVar[int]
    WRITE_BYTES_PER_S_FIELD_NUMBER: _ClassVar[int]
    OPERATIONS_PER_S_FIELD_NUMBER: _ClassVar[int]
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    OOM_KILLS_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_NS_FIELD_NUMBER: _ClassVar[int]
    PERIODS_FIELD_NUMBER: _ClassVar[int]
    THROTTLED_PERIODS_FIELD_NUMBER: _ClassVar[int]
    READ_OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    WRITE_OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    CPU_PRESSURE_FIELD_NUMBER: _ClassVar[int]
    MEMORY_PRESSURE_FIELD_NUMBER: _ClassVar[int]
    IO_PRESSURE_FIELD_NUMBER: _ClassVar[int]
    cpu_percent: float
    cpu_total_s: float
    throttled_s: float
    memory_bytes: int
    cache_bytes: int
    memory_peak_bytes: int
    read_bytes: int
    write_bytes: int
    read_bytes_per_s: float
    write_bytes_per_s: float
    operations_per_s: float
    processes: int
    oom_kills: int
    sample_ns: int
    periods: int
    throttled_periods: int
    read_operations: int
    write_operations: int
    cpu_pressure: Pressure
    memory_pressure: Pressure
    io_pressure: Pressure
    def __init__(self, cpu_percent: _Optional[float] = ..., cpu_total_s: _Optional[float] = ..., throttled_s: _Optional[float] = ..., memory_bytes: _Optional[int] = ..., cache_bytes: _Optional[int] = ..., memory_peak_bytes: _Optional[int] = ..., read_bytes: _Optional[int] = ..., write_bytes: _Optional[int] = ..., read_bytes_per_s: _Optional[float] = ..., write_bytes_per_s: _Optional[float] = ..., operations_per_s: _Optional[float] = ..., processes: _Optional[int] = ..., oom_kills: _Optional[int] = ..., sample_ns: _Optional[int] = ..., periods: _Optional[int] = ..., throttled_periods: _Optional[int] = ..., read_operations: _Optional[int] = ..., write_operations: _Optional[int] = ..., cpu_pressure: _Optional[_Union[Pressure, _Mapping]] = ..., memory_pressure: _Optional[_Union[Pressure, _Mapping]] = ..., io_pressure: _Optional[_Union[Pressure, _Mapping]] = ...) -> None: ...

class Pressure(_message.Message):
    __slots__ = ("some", "full")
    SOME_FIELD_NUMBER: _ClassVar[int]
    FULL_FIELD_NUMBER: _ClassVar[int]
    some: Stall
    full: Stall
    def __init__(self, some: _Optional[_Union[Stall, _Mapping]] = ..., full: _Optional[_Union[Stall, _Mapping]] = ...) -> None: ...

class Stall(_message.Message):
    __slots__ = ("avg10", "avg60", "avg300", "total_s")
    AVG10_FIELD_NUMBER: _ClassVar[int]
    AVG60_FIELD_NUMBER: _ClassVar[int]
    AVG300_FIELD_NUMBER: _ClassVar[int]
    TOTAL_S_FIELD_NUMBER: _ClassVar[int]
    avg10: float
    avg60: float
    avg300: float
    total_s: float
    def __init__(self, avg10: _Optional[float] = ..., avg60: _Optional[float] = ..., avg300: _Optional[float] = ..., total_s: _Optional[float] = ...) -> None: ...

class EndRecord(_message.Message):
    __slots__ = ("reason", "exit_code", "signal", "stopped_by", "stop_reason", "escalated", "processes_killed", "oom_kills", "memory_peak_bytes", "cpu_total_s", "read_bytes", "write_bytes", "output_bytes", "output_sha256", "sha256_from", "sha256_to", "ended_ns", "detail", "gaps", "throttled_s")
    REASON_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    STOPPED_BY_FIELD_NUMBER: _ClassVar[int]
    STOP_REASON_FIELD_NUMBER: _ClassVar[int]
    ESCALATED_FIELD_NUMBER: _ClassVar[int]
    PROCESSES_KILLED_FIELD_NUMBER: _ClassVar[int]
    OOM_KILLS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_PEAK_BYTES_FIELD_NUMBER: _ClassVar[int]
    CPU_TOTAL_S_FIELD_NUMBER: _ClassVar[int]
    READ_BYTES_FIELD_NUMBER: _ClassVar[int]
    WRITE_BYTES_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_BYTES_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_SHA256_FIELD_NUMBER: _ClassVar[int]
    SHA256_FROM_FIELD_NUMBER: _ClassVar[int]
    SHA256_TO_FIELD_NUMBER: _ClassVar[int]
    ENDED_NS_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    GAPS_FIELD_NUMBER: _ClassVar[int]
    THROTTLED_S_FIELD_NUMBER: _ClassVar[int]
    reason: str
    exit_code: int
    signal: int
    stopped_by: str
    stop_reason: str
    escalated: bool
    processes_killed: int
    oom_kills: int
    memory_peak_bytes: int
    cpu_total_s: float
    read_bytes: int
    write_bytes: int
    output_bytes: int
    output_sha256: str
    sha256_from: int
    sha256_to: int
    ended_ns: int
    detail: str
    gaps: _containers.RepeatedCompositeFieldContainer[Gap]
    throttled_s: float
    def __init__(self, reason: _Optional[str] = ..., exit_code: _Optional[int] = ..., signal: _Optional[int] = ..., stopped_by: _Optional[str] = ..., stop_reason: _Optional[str] = ..., escalated: _Optional[bool] = ..., processes_killed: _Optional[int] = ..., oom_kills: _Optional[int] = ..., memory_peak_bytes: _Optional[int] = ..., cpu_total_s: _Optional[float] = ..., read_bytes: _Optional[int] = ..., write_bytes: _Optional[int] = ..., output_bytes: _Optional[int] = ..., output_sha256: _Optional[str] = ..., sha256_from: _Optional[int] = ..., sha256_to: _Optional[int] = ..., ended_ns: _Optional[int] = ..., detail: _Optional[str] = ..., gaps: _Optional[_Iterable[_Union[Gap, _Mapping]]] = ..., throttled_s: _Optional[float] = ...) -> None: ...
