# Completion of penstock in bash (4.4 or later). Printed by: penstock completion bash
_penstock() {
    local program=${1/#\~\//$HOME/} kind=
    COMPREPLY=()
    # The line is read by penstock itself: COMP_WORDS is cut at ":" and "=", and is not unquoted.
    {
        IFS= read -r kind
        mapfile -t COMPREPLY
    } < <("$program" __complete bash "${COMP_LINE:0:COMP_POINT}" "$2" 2>/dev/null </dev/null)
    case $kind in
        files) compopt -o default ;;
        directories) compopt -o dirnames ;;
        *) compopt -o nosort ;;
    esac
}
complete -F _penstock penstock
