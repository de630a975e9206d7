/** The shells that completion is there for. */
export type Shell = 'bash' | 'zsh' | 'fish';

/*
 * Each script gives the words to the hidden command __complete, which prints "words" or "files", and then a line for each word: the
 * word, a tab, what it means.
 */

const BASH = `# Completion of wormhole for bash: wormhole completion bash
_wormhole() {
	local kind word line=\${COMP_LINE:0:COMP_POINT}
	# bash replaces what is behind the last character that breaks words, such as the colon in tcp://.
	local current=\${line##*[[:space:]]} broken=
	[[ $current != *[:@=]* ]] || broken=\${current%"\${current##*[:@=]}"}
	COMPREPLY=()
	{
		read -r kind || return 0
		while IFS=$'\\t' read -r word _; do
			COMPREPLY+=("\${word#"$broken"}")
		done
	} < <(wormhole __complete --line -- "$line" 2>/dev/null)
	[[ $kind != files ]] || compopt -o default
	[[ \${#COMPREPLY[@]} != 1 || \${COMPREPLY[0]} != *[/@] ]] || compopt -o nospace
}
complete -F _wormhole wormhole
`;

const ZSH = `#compdef wormhole
# Completion of wormhole for zsh: wormhole completion zsh
_wormhole() {
	local -a lines described plain
	local line
	lines=("\${(@f)$(wormhole __complete -- "\${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
	[[ $lines[1] != files ]] || { _files; return }
	for line in "\${(@)lines[2,-1]}"; do
		case $line in
		*[/@]$'\\t'*) plain+=("\${line%%$'\\t'*}") ;;
		*) described+=("\${\${line%%$'\\t'*}//:/\\\\:}:\${line#*$'\\t'}") ;;
		esac
	done
	(( ! $#plain )) || compadd -S '' -- "$plain[@]"
	(( ! $#described )) || _describe wormhole described
}
# As a file of $fpath it is the body of the function; read by source, it defines it.
if [[ $funcstack[1] = _wormhole ]]; then _wormhole "$@"; else compdef _wormhole wormhole; fi
`;

const FISH = `# Completion of wormhole for fish: wormhole completion fish
function __wormhole_complete
    set -l lines (wormhole __complete -- (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)
    if test "$lines[1]" = files
        __fish_complete_path (commandline -ct)
    else
        printf '%s\\n' $lines[2..-1]
    end
end
complete -c wormhole -f -a '(__wormhole_complete)'
`;

/** The script for each shell, as `wormhole completion` prints it. */
export const COMPLETION_SCRIPTS: Record<Shell, string> = { bash: BASH, zsh: ZSH, fish: FISH };
