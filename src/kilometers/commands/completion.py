"""`km completion`: scripts for shells, and what they complete.

    shell ──_KM_COMPLETE=bash_complete, COMP_WORDS, COMP_CWORD──▶ km ──a line or three for each completion──▶ shell

The words and lines are those of click.shell_completion, whose classes answer.  The scripts are ours, because Click's
do not work with the bash of macOS (3.2), leave variables behind, find km only in PATH and cut descriptions at commas;
that for PowerShell is Click's.  They start km as it was typed, without arguments and without its messages.
"""

import apsw
import click
from click.shell_completion import CompletionItem, PowerShellComplete

from kilometers import console, paths
from kilometers.core.session_id import short_id
from kilometers.core.summary import SessionSummary
from kilometers.errors import KilometersError
from kilometers.queries import StoreReader

LOOK_BACK = 1_000  # sessions: what was used last is what is wanted
MAX_IDS = 20
HELP_WIDTH = 60

BASH = r"""_km_completion() {
    local IFS=$'\n' word kind value words=()
    for word in "${COMP_WORDS[@]:0:COMP_CWORD+1}"; do
        [[ $word == = ]] || words+=("$word") # bash makes three words of --status=ok
    done
    [[ ${COMP_WORDS[COMP_CWORD]} == = ]] && words+=("")
    COMPREPLY=()
    while IFS=, read -r kind value; do
        case $kind in
            plain) COMPREPLY+=("$value") ;;
            file) compopt -o default 2>/dev/null ;;
            dir) compopt -o dirnames 2>/dev/null ;;
        esac
    done <<<"$(env _KM_COMPLETE=bash_complete COMP_WORDS="${words[*]}" COMP_CWORD=$((${#words[@]} - 1)) \
        "${1/#\~\//$HOME/}" 2>/dev/null)"
}
complete -o nosort -F _km_completion km 2>/dev/null || complete -F _km_completion km
"""

ZSH = r"""#compdef km
_km_completion() {
    local kind value help
    local -a lines plain described
    lines=("${(@f)$(env _KM_COMPLETE=zsh_complete COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT - 1)) \
        "${(Q)words[1]/#\~\//$HOME/}" 2>/dev/null)}")
    [[ $PREFIX == -*=* ]] && compset -P '*='
    for kind value help in $lines; do
        case $kind in
            plain) if [[ $help == _ ]]; then plain+=("$value"); else described+=("$value:$help"); fi ;;
            file) _files ;;
            dir) _files -/ ;;
        esac
    done
    (( $#described )) && _describe -V km described
    (( $#plain )) && compadd -V km -a plain
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _km_completion "$@"
else
    compdef _km_completion km
fi
"""

FISH = r"""function _km_completion
    set -l km (commandline -opc)[1]
    string match -qr '(^|/)km$' -- $km; or set km km
    set -l lines (env _KM_COMPLETE=fish_complete COMP_WORDS=(commandline -cp | string collect) \
        COMP_CWORD=(commandline -ct | string collect) (string replace -r '^~/' $HOME/ -- $km) 2>/dev/null)
    set -l option (string match -r '^--[^=]+=' -- (commandline -ct))
    for line in $lines
        set -l item (string split -m 1 , -- $line)
        switch $item[1]
            case plain
                printf '%s\n' "$option$item[2]"
            case file
                __fish_complete_path $item[2]
            case dir
                __fish_complete_directories $item[2]
        end
    end
end
complete --command km --no-files --keep-order --arguments '(_km_completion)'
"""

SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}
SHELLS = (*SCRIPTS, "powershell")
USES = {
    "bash": 'Put this line into ~/.bashrc: eval "$(km completion bash)"',
    "zsh": 'Put this line into ~/.zshrc, after compinit: eval "$(km completion zsh)"',
    "fish": "Keep it: km completion fish > ~/.config/fish/completions/km.fish",
    "powershell": "Put this line into $PROFILE: km completion powershell | Out-String | Invoke-Expression",
}


def run(shell: str) -> None:
    """Print the script for *shell*; to a person also what to do with it."""
    console.write_line((SCRIPTS.get(shell) or powershell_script()).rstrip("\n"))
    if console.is_terminal():
        console.say(f"\n{USES[shell]}")


def powershell_script() -> str:
    """Return Click's own."""
    return PowerShellComplete(click.Command("km"), {}, "km", "_KM_COMPLETE").source()


def find_sessions(_context: click.Context, _parameter: click.Parameter, typed: str) -> list[CompletionItem[str]]:
    """Return the server names and short session ids that begin with *typed*, the newest first."""
    names: dict[str, str] = {}
    ids: dict[str, str] = {}
    for summary in recent_sessions():
        when_and_what = describe(summary)
        if is_plain_word(summary.name):
            names.setdefault(summary.name, when_and_what)
        ids[short_id(summary.session_id)] = f"{console.printable(summary.name)}, {when_and_what}"
    wanted_names = [name for name in names if name.startswith(typed)]
    wanted_ids = [short for short in ids if short.startswith(typed)][:MAX_IDS]
    return [CompletionItem(word, help=(names | ids)[word]) for word in wanted_names + wanted_ids]


def recorded_servers() -> list[str]:
    """Return the names of the servers that were recorded last, the newest first."""
    return list(dict.fromkeys(summary.name for summary in recent_sessions()))


def recent_sessions() -> list[SessionSummary]:
    """Return what the store has, the newest first; nothing where it cannot be read: nobody waits for a completion."""
    try:
        reader = StoreReader(paths.find_home())
        return list(reader.sessions(limit=LOOK_BACK, since_us=None, search=None, with_probes=False))
    except (KilometersError, apsw.Error, OSError, ValueError):
        return []


def describe(summary: SessionSummary) -> str:
    """Return when a session began, and the beginning of its command."""
    text = console.printable(f"{console.clock(summary.started_at)}  {' '.join(summary.command)}")
    return text if len(text) <= HELP_WIDTH else f"{text[: HELP_WIDTH - 1]}…"


def is_plain_word(name: str) -> bool:
    """Whether every shell takes the name as it is: what it would have to quote is offered by its id alone."""
    return name[:1].isalnum() and all(letter.isalnum() or letter in "-_./+" for letter in name)
