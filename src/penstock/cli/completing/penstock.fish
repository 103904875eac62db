# Completion of penstock in fish. Printed by: penstock completion fish
function __penstock_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct | string collect)
    # Separated by NUL, because a value may hold a line end.
    set -l answer ($words[1] __complete fish $words "$current" 2>/dev/null </dev/null | string split0)
    set -l kind $answer[1]
    set -e answer[1]
    switch "$kind"
        case files directories
            # As fish completes the arguments of a command that it does not know; of "--ca=fi" the
            # part that is a path.
            set -l front (string match -r '^--[^=]*=' -- "$current")
            set -l path (string replace -- "$front" '' "$current")
            set -l found (complete -C "__penstock_no_such_command $path")
            test "$kind" = directories; and set found (string match -r '.*/$' -- $found)
            string replace -r '^' -- "$front" $found | string join0
        case '*'
            string join0 -- $answer
    end
end
complete -c penstock -f -a '(__penstock_complete | string split0)'
