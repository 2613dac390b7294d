"""Completions for shells: static scripts made from the tables, so that no TAB starts Heart."""

from .commands import COMMANDS

BASH = r"""# bash completion for heart, made by: heart completion bash
_heart_paths() {
    compopt -o filenames 2>/dev/null
    case $1 in
        scripts) mapfile -t COMPREPLY < <(compgen -d -- "$cur"; compgen -f -X '!*.lua' -- "$cur") ;;
        files) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
        folders) mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
    esac
}

_heart_words() {
    mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur")
}

# Sets `place`: how many arguments stand before the cursor. $1: the options that have a value.
_heart_count() {
    local i
    for ((i = first; i < COMP_CWORD; i++)); do
        if [[ ${COMP_WORDS[i]} != -* ]]; then
            ((place += 1))
        elif [[ ${COMP_WORDS[i + 1]} == = ]]; then
            ((i += 2))
        elif [[ " $1 " == *" ${COMP_WORDS[i]} "* ]]; then
            ((i += 1))
        fi
    done
}

_heart() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]}
    local first=2 place=0
    COMPREPLY=()
    if [[ $cur == = ]]; then
        cur=
    elif [[ $prev == = ]]; then
        prev=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    if ((COMP_CWORD == 1)); then
        _heart_paths scripts
        mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -W '@COMMANDS@' -- "$cur")
        return
    fi
    if [[ $command == *.lua ]]; then
        command=serve first=1
    fi
    case $command:$prev in
@VALUES@
    esac
    case $command:$cur in
@FLAGS@
    esac
    case $command in
@COUNTS@
    esac
    case $command:$place in
@ARGUMENTS@
    esac
}
complete -F _heart heart
"""

ZSH = r"""#compdef heart
# zsh completion for heart, made by: heart completion zsh
_heart() {
  local -a commands=(
@COMMANDS@
  )
  if (( CURRENT == 2 )); then
    _describe -t commands command commands
    _files -g '*.lua'
    return
  fi
  if [[ $words[2] == *.lua ]]; then
    words=("$words[1]" serve "${(@)words[2,-1]}")
    (( CURRENT++ ))
  fi
  shift words
  (( CURRENT-- ))
  case $words[1] in
@CASES@
  esac
}
if [[ $funcstack[1] == _heart ]]; then
  _heart "$@"
else
  compdef _heart heart
fi
"""

FISH = r"""# fish completion for heart, made by: heart completion fish
# Whether the command is $argv[1] and $argv[2] arguments stand before the cursor, or any number if there is no $argv[2].
# $argv[3..]: the options that have a value.
function __heart_at
    set -l words (commandline -opc)[2..-1]
    set -q words[1]; or return 1
    set -l place 0
    if string match -q -- '*.lua' $words[1]
        set place 1
        set words[1] serve
    end
    test "$words[1]" = "$argv[1]"; or return 1
    set -q argv[2]; or return 0
    set -l skip 0
    for word in $words[2..-1]
        if test $skip = 1
            set skip 0
        else if string match -q -- '-*' $word
            contains -- $word $argv[3..-1]; and set skip 1
        else
            set place (math $place + 1)
        end
    end
    test $place = "$argv[2]"
end
function __heart_scripts
    __fish_complete_path (commandline -ct) | string match -er '^[^\t]*(\.lua|/)(\t|$)'
end
function __heart_first
    test (count (commandline -opc)) = 1
end
complete -c heart -f
complete -c heart -n __heart_first -k -a '(__heart_scripts)'
@LINES@
"""

# What each shell calls a kind of paths.
ZSH_PATHS = {"scripts": '_files -g "*.lua"', "files": "_files", "folders": "_files -/"}
FISH_PATHS = {
    "scripts": "(__heart_scripts)",
    "files": "(__fish_complete_path)",
    "folders": "(__fish_complete_directories)",
}


def run(shell):
    """`heart completion SHELL`."""
    print({"bash": bash, "zsh": zsh, "fish": fish}[shell](), end="")


def shown():
    """The commands that are offered."""
    return [command for command in COMMANDS if not command.hidden]


def spellings(option):
    """The ways of writing an option."""
    return [option.flag, *([option.short] if option.short else [])]


def valued(command):
    """The spellings of the options that have a value."""
    return [flag for option in command.options if not option.sets for flag in spellings(option)]


def quoted(text):
    """A text as one word of bash and zsh."""
    return "'" + text.replace("'", r"'\''") + "'"


def fill(template, **lines):
    """The template with its @PLACES@ filled in."""
    for name, text in lines.items():
        template = template.replace(f"@{name}@", text)
    return template


# ---- bash --------------------------------------------------------------------------------------------------


def bash_offer(kind):
    """What completes a value of this kind."""
    if isinstance(kind.choices, str):
        return f"_heart_paths {kind.choices}"
    return f"_heart_words {quoted(' '.join(kind.choices))}"


def bash():
    """The script for bash."""
    values, flags, counts, arguments = [], [], [], []
    for command in shown():
        for option in command.options:
            if not option.sets:
                pattern = " | ".join(f"{command.name}:{flag}" for flag in spellings(option))
                values.append(f"        {pattern}) {bash_offer(option.kind)}; return ;;")
        every = [flag for option in command.options for flag in spellings(option)] + ["--help"]
        flags.append(f"        {command.name}:-*) _heart_words {quoted(' '.join(every))}; return ;;")
        counts.append(f"        {command.name}) _heart_count {quoted(' '.join(valued(command)))} ;;")
        for place, argument in enumerate(command.arguments):
            arguments.append(f"        {command.name}:{place}) {bash_offer(argument.kind)} ;;")
    names = " ".join(command.name for command in shown())
    return fill(
        BASH,
        COMMANDS=names,
        VALUES="\n".join(values),
        FLAGS="\n".join(flags),
        COUNTS="\n".join(counts),
        ARGUMENTS="\n".join(arguments),
    )


# ---- zsh ---------------------------------------------------------------------------------------------------


def zsh_offer(kind):
    """The action of _arguments for a value of this kind."""
    if isinstance(kind.choices, str):
        return ZSH_PATHS[kind.choices]
    return f"({' '.join(kind.choices)})" if kind.choices else " "


def zsh_text(text):
    """A text inside a specification of _arguments."""
    for special in "\\[]:":
        text = text.replace(special, "\\" + special)
    return text


def zsh_option(option):
    """The specifications of an option."""
    value = "" if option.sets else f":{option.kind.metavar.replace(':', ' ')}:{zsh_offer(option.kind)}"
    repeated = "*" if option.many else ""
    equals = "" if option.sets else "="
    for flag in spellings(option):
        after = equals if flag.startswith("--") else ""
        yield quoted(f"{repeated}{flag}{after}[{zsh_text(option.help)}]{value}")


def zsh():
    """The script for zsh."""
    names = [f"    {quoted(command.name + ':' + zsh_text(command.help))}" for command in shown()]
    cases = []
    for command in shown():
        words = [word for option in command.options for word in zsh_option(option)]
        words.append(quoted("--help[Tell more about this command]"))
        for place, argument in enumerate(command.arguments, 1):
            words.append(quoted(f"{place}:{argument.kind.metavar}:{zsh_offer(argument.kind)}"))
        joined = " \\\n        ".join(words)
        cases.append(f"    {command.name})\n      _arguments -s \\\n        {joined}\n      ;;")
    return fill(ZSH, COMMANDS="\n".join(names), CASES="\n".join(cases))


# ---- fish --------------------------------------------------------------------------------------------------


def fish_quoted(text):
    """A text as one word of fish."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def fish_offer(kind):
    """The -a of a value of this kind."""
    offer = FISH_PATHS[kind.choices] if isinstance(kind.choices, str) else " ".join(kind.choices)
    return f" -a {fish_quoted(offer)}" if offer else ""


def fish_option(command, option):
    """The line of an option."""
    short = f" -s {option.short[1:]}" if option.short else ""
    value = "" if option.sets else f" -x{fish_offer(option.kind)}"
    place = f"-n {fish_quoted('__heart_at ' + command.name)}"
    return f"complete -c heart {place} -l {option.flag[2:]}{short}{value} -d {fish_quoted(option.help)}"


def fish():
    """The script for fish."""
    lines = []
    for command in shown():
        lines.append(f"complete -c heart -n __heart_first -a {command.name} -d {fish_quoted(command.help)}")
    for command in shown():
        lines += [fish_option(command, option) for option in command.options]
        for place, argument in enumerate(command.arguments):
            at = f"-n {fish_quoted(' '.join(['__heart_at', command.name, str(place), *valued(command)]))}"
            lines.append(f"complete -c heart {at} -k{fish_offer(argument.kind)}")
    return fill(FISH, LINES="\n".join(lines))
