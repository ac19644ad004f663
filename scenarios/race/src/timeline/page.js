const rows=[...document.querySelectorAll("tbody tr")];
const text=document.getElementById("text"),lane=document.getElementById("lane"),only=document.getElementById("only"),shown=document.getElementById("shown");
function filter(){
  const wanted=text.value.trim().toLowerCase();
  let count=0;
  for(const row of rows){
    const fits=(!wanted||row.textContent.toLowerCase().includes(wanted))&&(!lane.value||row.dataset.lane===lane.value)&&(!only.checked||row.classList.contains("wrong"));
    row.hidden=!fits;
    if(fits)count++;
  }
  shown.textContent=count+(count===1?" entry":" entries");
}
for(const part of [text,lane,only])part.addEventListener("input",filter);
document.querySelector("tbody").addEventListener("keydown",event=>{
  const step={ArrowDown:1,ArrowUp:-1}[event.key];
  if(!step)return;
  const seen=rows.filter(row=>!row.hidden),next=seen[seen.indexOf(event.target.closest("tr"))+step];
  if(next){next.focus();event.preventDefault();}
});
document.querySelector(".scroll").addEventListener("keydown",event=>{
  if(event.key==="Enter"&&event.target.classList.contains("scroll")){
    const first=rows.find(row=>!row.hidden);
    if(first)first.focus();
  }
});
