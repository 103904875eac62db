#compdef penstock
# Completion of penstock in zsh. Printed by: penstock completion zsh
_penstock() {
    local program=${~${(Q)words[1]}} kind
    local -a answer values shown
    # Separated by NUL, because a value may hold anything else. What zsh has cut off in front of the
    # cursor's word (a quote, the part before a "=") belongs to it.
    answer=("${(@0)$("$program" __complete zsh "${(@)words[1,CURRENT-1]}" \
        "$QIPREFIX$IPREFIX$PREFIX" 2>/dev/null </dev/null)}")
    kind=${answer[1]}
    case $kind in
        files) compset -P '*='; _files; return ;;
        directories) compset -P '*='; _files -/; return ;;
    esac
    local index
    for ((index = 2; index < ${#answer}; index += 2)); do
        values+=("${answer[index]}")
        shown+=("${answer[index + 1]}")
    done
    ((${#values})) || return 1
    # Quoted by zsh, as the place wants it; in our order, with one description a line.
    compadd -V penstock -l -d shown -a values
}
if [[ $funcstack[1] == _penstock ]]; then
    _penstock "$@"
else
    compdef _penstock penstock
fi
